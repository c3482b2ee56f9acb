"""Thresholds for accepted false alarms, against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.errors import InvalidInputError
from memedit.scope.operating import Scores, curve, point_at, point_for, shortest, wilson

PROBABILITY = st.floats(0, 1).map(lambda value: round(value, 3))


def scores(values: list[float]) -> Scores:
    return Scores.of(values, [f"prompt {i}" for i in range(len(values))])


@given(
    st.lists(PROBABILITY, min_size=1, max_size=60),
    st.lists(PROBABILITY, max_size=20),
    st.sampled_from([0.0, 0.01, 0.05, 0.3]),
)
def test_the_threshold_keeps_to_the_rate_and_a_lower_one_would_not(
    ordinary: list[float], wanted: list[float], rate: float
) -> None:
    positives = {"given": scores(wanted)} if wanted else {}
    point = point_for(scores(ordinary), positives, rate)
    allowed = int(rate * len(ordinary) + 1e-9)
    too_many = sorted(ordinary, reverse=True)[allowed]
    if point.threshold is None:
        assert too_many == 1.0
        assert point.false_alarms.share == 0
        return
    assert point.threshold > too_many
    assert point.false_alarms.share <= rate + 1e-12
    assert not [value for value in (*ordinary, *wanted) if too_many < value < point.threshold]
    for share in point.fires.values():
        assert share.share == np.mean([value >= point.threshold for value in wanted])
        assert share.low <= share.share + 1e-12 and share.share <= share.high + 1e-12


def test_too_few_prompts_say_how_many_are_needed() -> None:
    few = point_for(scores([0.1] * 20), {}, 0.01)
    assert (few.resolved, few.needed) == (False, 100)
    assert few.false_alarms.share == 0 and few.false_alarms.high == pytest.approx(0.161, abs=1e-3)
    assert point_for(scores([0.1] * 100), {}, 0.01).resolved
    repeated = Scores.of([0.1] * 500, ["hello"] * 500)
    assert not point_for(repeated, {}, 0.01).resolved, "one prompt, however often it is asked"


def test_prompts_that_are_not_near_any_edit_bind_nothing() -> None:
    assert not point_for(scores([0.0] * 200), {}, 0.01).binding
    assert point_for(scores([0.5] * 200), {}, 0.01).binding


def test_the_interval_counts_groups_not_prompts() -> None:
    alone = Scores.of([0.9] * 50, [str(i) for i in range(50)])
    together = Scores.of([0.9] * 50, [str(i % 5) for i in range(50)])
    low = [point_at(alone, {"k": one}, 0.5).fires["k"].low for one in (alone, together)]
    assert low[1] < low[0]


def test_wilson_agrees_with_the_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits / n, n) == pytest.approx((low, high), abs=1e-4)


def test_short_decimals_never_change_a_decision() -> None:
    values = np.array([0.123, 0.1234567, 0.9])
    assert shortest(float(np.nextafter(0.123, 1)), values) == 0.1231
    assert shortest(float(np.nextafter(0.1234567, 1)), values) == 0.13
    assert shortest(float(np.nextafter(1.0, 2)), values) is None


def test_the_curve_goes_from_nothing_to_everything() -> None:
    points = curve(scores([0.1, 0.2, 0.6]), scores([0.5, 0.7]))
    assert points == [(0, 0), (0, 0.5), (1 / 3, 0.5), (1 / 3, 1), (2 / 3, 1), (1, 1)]
    with pytest.raises(InvalidInputError, match="curve"):
        curve(scores([]), scores([0.5]))


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="negatives"):
        point_for(scores([]), {}, 0.01)
