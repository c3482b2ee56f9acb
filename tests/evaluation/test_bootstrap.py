"""Intervals: where they can be known beforehand, they are."""

from __future__ import annotations

import numpy as np
import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation import bootstrap
from memedit.evaluation.bootstrap import interval, interval_of_average, interval_of_mean, wilson

Z = 1.959964
"""The normal distribution's 97.5% quantile."""


def told(values: list[float], share: bool = True) -> tuple[float, float] | None:
    return interval(values, np.random.default_rng(0), share=share)


def test_of_one_case_nothing_is_told() -> None:
    assert told([1.0]) is None and told([0.25]) is None and told([5.2], share=False) is None


def test_cases_that_are_all_right_leave_the_doubt_that_is_due() -> None:
    # At the end Wilson's bound is n / (n + z^2): by hand 3 / 6.8415 and 50 / 53.8415.
    assert told([1.0] * 3) == (pytest.approx(0.438503, abs=1e-6), 1.0)
    assert told([0.0] * 3) == (0.0, pytest.approx(1 - 0.438503, abs=1e-6))
    assert told([1.0] * 50) == (pytest.approx(0.928652, abs=1e-6), 1.0)


def test_a_proportion_has_the_bounds_that_solve_the_score_equation() -> None:
    for right, n in ((1, 2), (3, 10), (19, 20), (7, 200)):
        for bound in wilson(right, n):
            assert (right / n - bound) ** 2 == pytest.approx(Z**2 * bound * (1 - bound) / n)
    # Published: Newcombe 1998, table I, 81 of 263 and 15 of 148.
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson(15, 148) == (pytest.approx(0.0624, abs=5e-5), pytest.approx(0.1605, abs=5e-5))
    assert told([1.0] * 19 + [0.0]) == wilson(19, 20), "one more that is right raises the bound"
    assert wilson(19, 20)[0] < wilson(20, 20)[0]


def test_what_is_alike_and_no_share_tells_nothing() -> None:
    assert told([4.5, 4.5, 4.5], share=False) is None
    assert told([0.0, 0.0, 0.0], share=False) is None, "no divergence is not nought of three"
    # A score between 0 and 1 varies at most as 0 and 1 do: as 2 of 4 would.
    assert told([0.5] * 4) == wilson(2, 4)


def test_other_numbers_are_drawn_again() -> None:
    values = [0.0, 0.5, 1.0, 0.25]
    assert told(values) == interval_of_mean(values, np.random.default_rng(0))


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


def test_the_intervals_of_groups_are_put_together() -> None:
    # Half of each way: up from 1 nothing, down from 1 as from 0.5.
    generator = np.random.default_rng(3)
    found = interval_of_average([[1.0] * 500, [0.0, 1.0]], generator, share=True)
    (sure, _), (low, high) = wilson(500, 500), wilson(1, 2)
    down, up = ((1 - sure) ** 2 + (0.5 - low) ** 2) ** 0.5, high - 0.5
    assert found == (pytest.approx(0.75 - down / 2), pytest.approx(0.75 + up / 2))
    assert interval_of_average([[1.0, 0.0], [1.0]], generator, share=True) is None
    # Shares of 0.2 and of 0.6, of 100 and of 900 cases: the variances are added, each a quarter.
    shares = [np.arange(100) < 20, np.arange(900) < 540]
    bounds = interval_of_average(shares, generator, share=True)
    assert bounds is not None
    half = 1.96 * 0.5 * np.sqrt(0.2 * 0.8 / 100 + 0.6 * 0.4 / 900)
    assert bounds[0] == pytest.approx(0.4 - half, abs=0.006)
    assert bounds[1] == pytest.approx(0.4 + half, abs=0.006)


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one group"):
        interval_of_average([], np.random.default_rng(0), share=True)
    with pytest.raises(InvalidInputError, match="at least one case; got 0 of 0"):
        wilson(0, 0)
    with pytest.raises(InvalidInputError, match=r"at least one number per case; got shape \(0,\)"):
        interval_of_mean([], np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match=r"0\.95; got 95"):
        interval_of_mean([1.0], np.random.default_rng(0), level=95)
