"""Intervals by bootstrap: where they can be known beforehand, they are."""

from __future__ import annotations

import numpy as np
import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation import bootstrap
from memedit.evaluation.bootstrap import interval_of_mean, interval_of_means


def test_cases_that_agree_leave_no_doubt() -> None:
    assert interval_of_mean([1.0] * 50, np.random.default_rng(0)) == (1, 1)
    assert interval_of_mean([0.25], np.random.default_rng(0)) == (0.25, 0.25)


def test_two_cases_can_be_drawn_in_three_ways() -> None:
    # 00, 01, 10, 11: means 0 and 1 a quarter of the time each, so both bounds are reached.
    assert interval_of_mean([0.0, 1.0], np.random.default_rng(3)) == (0, 1)
    # Between the quarters only the middle is left.
    assert interval_of_mean([0.0, 1.0], np.random.default_rng(3), level=0.4) == (0.5, 0.5)


def test_many_cases_come_near_the_normal_distribution() -> None:
    values = np.arange(1_000) < 300  # a share of 0.3
    low, high = interval_of_mean(values, np.random.default_rng(0), draws=4_000)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1_000)
    assert low == pytest.approx(0.3 - half, abs=0.003)
    assert high == pytest.approx(0.3 + half, abs=0.003)


def test_the_generator_decides() -> None:
    values = np.random.default_rng(9).random(40)
    one = interval_of_mean(values, np.random.default_rng(1))
    assert interval_of_mean(values, np.random.default_rng(1)) == one
    assert interval_of_mean(values, np.random.default_rng(2)) != one


def test_drawing_in_rounds_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(9).random(40)
    one = interval_of_mean(values, np.random.default_rng(1), draws=101)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 400)
    assert interval_of_mean(values, np.random.default_rng(1), draws=101) == one


def test_groups_are_drawn_apart_and_count_alike() -> None:
    # Of a group that agrees and one that does not: half of what the second one's mean may be.
    groups = [[1.0] * 500, [0.0, 1.0]]
    assert interval_of_means(groups, np.random.default_rng(3)) == (0.5, 1.0)
    one = np.random.default_rng(9).random(40)
    assert interval_of_means([one], np.random.default_rng(1)) == interval_of_mean(
        one, np.random.default_rng(1)
    )
    # Shares of 0.2 and of 0.6, of 100 and of 900 cases: the variances are added, each a quarter.
    shares = [np.arange(100) < 20, np.arange(900) < 540]
    low, high = interval_of_means(shares, np.random.default_rng(0), draws=4_000)
    half = 1.96 * 0.5 * np.sqrt(0.2 * 0.8 / 100 + 0.6 * 0.4 / 900)
    assert low == pytest.approx(0.4 - half, abs=0.004)
    assert high == pytest.approx(0.4 + half, abs=0.004)


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one group"):
        interval_of_means([], np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match=r"at least one number per case; got shape \(0,\)"):
        interval_of_mean([], np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match=r"0\.95; got 95"):
        interval_of_mean([1.0], np.random.default_rng(0), level=95)
