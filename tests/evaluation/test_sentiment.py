"""ConvSent's equations, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation.protocols import Forced
from memedit.evaluation.sentiment import (
    divergence,
    mean_log_probability,
    sentiment,
    z_sentiment,
    z_topic,
)


def reply(*log_probabilities: float) -> Forced:
    return Forced((False,) * len(log_probabilities), log_probabilities)


def test_the_mean_is_over_all_tokens_of_all_replies() -> None:
    # (-1 - 1 - 1 - 5) / 4, not (-1 - 5) / 2
    assert mean_log_probability([reply(-1.0, -1.0, -1.0), reply(-5.0)]) == pytest.approx(-2)


def test_z_sentiment_is_the_share_of_the_wanted() -> None:
    # Per token the wanted are three times as likely: 3 / (3 + 1).
    assert z_sentiment([reply(math.log(0.6))], [reply(math.log(0.2))]) == pytest.approx(0.75)
    assert z_sentiment([reply(-2.0)], [reply(-1.0, -3.0)]) == pytest.approx(0.5)
    assert z_sentiment([reply(-1e4)], [reply(-1.0)]) == 0
    assert z_sentiment([reply(-1.0)], [reply(-1e4)]) == 1


def test_z_topic_falls_with_the_likelihood_of_the_wanted_and_never_exceeds_one() -> None:
    assert z_topic([reply(math.log(0.5))], [reply(math.log(0.1))]) == pytest.approx(0.2)
    assert z_topic([reply(-3.0)], [reply(-1.0)]) == 1


def test_edit_success_is_their_product() -> None:
    scored = sentiment(
        wanted_before=[reply(math.log(0.8))],
        wanted_after=[reply(math.log(0.4))],
        unwanted_after=[reply(math.log(0.1))],
    )
    assert scored.z_sentiment == pytest.approx(0.8)
    assert scored.z_topic == pytest.approx(0.5)
    assert scored.edit_success == pytest.approx(0.4)


def test_divergence_of_two_tokens() -> None:
    before = np.log(np.array([[0.5, 0.5], [0.9, 0.1]]))
    after = np.log(np.array([[0.25, 0.75], [0.9, 0.1]]))
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(before, after) == pytest.approx((first + 0) / 2)
    assert divergence(before, before) == 0
    assert divergence(before, after) != pytest.approx(divergence(after, before))


def test_what_was_impossible_before_adds_nothing() -> None:
    before = np.array([[0.0, -np.inf]])
    after = np.log(np.array([[0.5, 0.5]]))
    with np.errstate(invalid="raise"):
        assert divergence(before, after) == pytest.approx(math.log(2))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="got none"):
        mean_log_probability([])
    for before, after in (((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (0, 3))):
        with pytest.raises(InvalidInputError, match=r"\[n_tokens, vocab\]"):
            divergence(np.zeros(before), np.zeros(after))
