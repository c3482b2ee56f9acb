"""The picture of lengths: what is drawn of which rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memedit.evaluation.report.plots_cost import by_length
from memedit.evaluation.rows import Row, Scored
from memedit.evaluation.rows import rows as summed


def row(task: str, length: int, value: float, metric: str = "edit_success") -> Row:
    setting = f"sequential:{length}"
    return Row("ft-m", task, setting, metric, "", "generated", value, value - 0.1, value + 0.1, 9)


def drawn(figure: Any) -> dict[tuple[int, str], list[tuple[float, float]]]:
    """Return (which line of panels, its metric) -> the points of its only method."""
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    across = [title for title in titles if title]
    return {
        (place // len(across), across[place % len(across)]): [
            (float(x), round(float(y), 6)) for x, y in axes.lines[0].get_xydata()
        ]
        for place, axes in enumerate(figure.axes)
        if axes.lines
    }


def test_each_task_and_the_mean_over_tasks_are_drawn_against_the_length() -> None:
    rows = [
        *(row("zsre", n, value) for n, value in ((100, 0.4), (10, 0.8))),
        *(row("wikibio", n, value) for n, value in ((10, 0.6), (100, 0.0))),
        row("wikibio", 100, 0.9, "locality"),
        *(row("zsre", n, 0.5, "locality") for n in (10, 100)),
    ]
    figure = by_length(rows, ["ft-m"])
    assert drawn(figure) == {
        (0, "Edit success"): [(10, 0.7), (100, 0.2)],
        (0, "Locality"): [(10, 0.5), (100, 0.5)],  # of the task that has both lengths
        (1, "Edit success"): [(10, 0.8), (100, 0.4)],
        (1, "Locality"): [(10, 0.5), (100, 0.5)],
        (2, "Edit success"): [(10, 0.6), (100, 0.0)],
        (2, "Locality"): [(100, 0.9)],
    }


def test_a_method_that_was_not_measured_at_all_lengths_has_its_mean_at_those_it_has() -> None:
    rows = [row(task, n, value) for task, value in (("a", 0.2), ("b", 0.6)) for n in (10, 20)]
    rows += [replace(row(task, 10, 0.5), method="rome") for task in ("a", "b")]
    figure: Any = by_length(rows, ["ft-m", "rome"])
    lines = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert [[10, 0.4], [20, 0.4]] in lines and [[10, 0.5]] in lines


def bars(axes: Any) -> list[tuple[float, float]]:
    """Return the intervals that are drawn, (low, high) from left to right."""
    [collection] = axes.collections
    return [(float(low), float(high)) for (_, low), (_, high) in collection.get_segments()]


def test_the_mean_over_tasks_has_the_interval_of_its_cases() -> None:
    scored = [
        Scored(
            "ft-m",
            f"sequential:{n}",
            task,
            f"{task}[{case}]",
            "edit_success",
            kind,
            "generated",
            "",
            (),
            "",
            "",
            score,
        )
        for n in (10, 100)
        for task, wrong in (("zsre", 0 if n == 10 else 8), ("wikibio", 0))
        for case in range(20)
        for kind, score in (("a", 1.0), ("b", float(case >= wrong)))
    ]
    found = summed(scored)
    figure: Any = by_length(found, ["ft-m"], scored)
    first, last = bars(figure.axes[0])
    # No case differs: 20 of 20 are at least 20 / (20 + 1.96^2), twice.
    sure = 1 - 20 / 23.8415
    assert first == (pytest.approx(1 - sure / 2**0.5, abs=1e-5), 1)
    # zsre: 12 cases of 1 and 8 of 1/2, so its mean has a deviation of 0.245 / sqrt(20)
    other = 1.96 * 0.245 / 20**0.5
    assert last[0] == pytest.approx(0.9 - (sure**2 + other**2) ** 0.5 / 2, abs=0.01)
    assert last[1] == pytest.approx(0.9 + other / 2, abs=0.01)
    lacking: Any = by_length(found, ["ft-m"], [one for one in scored if one.case != "zsre[3]"])
    assert not lacking.axes[0].collections, "a case is missing: no interval is made up"
    _, points = lacking.axes[0].lines
    assert points.get_markerfacecolor() == "none" and len(points.get_xdata()) == 2


def test_there_is_no_picture_of_one_length() -> None:
    assert by_length([row("zsre", 10, 0.5), row("wikibio", 10, 0.5)], ["ft-m"]) is None
    figure = by_length([row("zsre", 10, 0.5), row("zsre", 20, 0.5)], ["ft-m"])
    assert list(drawn(figure)) == [(0, "Edit success")], "one task is its own mean"


def test_edit_success_on_opinions_is_in_no_mean_over_tasks() -> None:
    rows = [row("zsre", n, 0.4) for n in (10, 100)]
    rows += [row("wikibio", n, 0.2) for n in (10, 100)]
    rows += [row("convsent", n, 1.0) for n in (10, 100)]
    rows += [replace(one, kind="word for word") for one in rows[-2:]]
    points = drawn(by_length(rows, ["ft-m"]))
    assert points[0, "Edit success"] == [(10, 0.3), (100, 0.3)]
    assert points[3, "Edit success"] == [(10, 1.0), (100, 1.0)], "its own panel has it"
