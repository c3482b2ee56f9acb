"""Sums over teacher-forced targets, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation.forced import (
    all_right,
    all_right_share,
    kept_share,
    log_probability,
    token_accuracy,
)
from memedit.evaluation.protocols import Forced

WHOLE = Forced((True, True), (math.log(0.5), math.log(0.25)), (7, 8))
QUARTER = Forced((True, False, False, False), (-1.0, -2.0, -3.0, -4.0), (1, 2, 3, 4))


def test_token_accuracy_is_a_mean_of_means() -> None:
    # (2/2 + 1/4) / 2, not 3 of 6 tokens
    assert token_accuracy([WHOLE, QUARTER]) == pytest.approx(0.625)


def test_all_right_counts_whole_targets() -> None:
    assert all_right(WHOLE)
    assert not all_right(QUARTER)
    assert all_right_share([WHOLE, QUARTER, QUARTER, QUARTER]) == pytest.approx(0.25)


def test_log_probability_is_that_of_the_whole_target() -> None:
    assert math.exp(log_probability(WHOLE)) == pytest.approx(0.125)


def test_kept_is_the_share_of_positions_with_the_same_argmax() -> None:
    after = Forced((False,) * 4, (-9.0,) * 4, (1, 2, 9, 9))
    assert kept_share(QUARTER, after) == pytest.approx(0.5)
    assert kept_share(QUARTER, QUARTER) == 1


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"same target positions; got 4 before.* and 2 after"
    ):
        kept_share(QUARTER, WHOLE)
    with pytest.raises(InvalidInputError, match="got 0 before"):
        kept_share(Forced((True,), (-1.0,)), Forced((True,), (-1.0,)))
    for mean in (token_accuracy, all_right_share):
        with pytest.raises(InvalidInputError, match="empty list"):
            mean([])
