"""The picture of lengths: what is drawn of which rows."""

from __future__ import annotations

from typing import Any

from memedit.evaluation.report.plots_cost import by_length
from memedit.evaluation.rows import Row


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


def test_there_is_no_picture_of_one_length() -> None:
    assert by_length([row("zsre", 10, 0.5), row("wikibio", 10, 0.5)], ["ft-m"]) is None
    figure = by_length([row("zsre", 10, 0.5), row("zsre", 20, 0.5)], ["ft-m"])
    assert list(drawn(figure)) == [(0, "Edit success")], "one task is its own mean"
