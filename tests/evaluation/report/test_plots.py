"""The plots of scores: what has no interval is hollow, and no point covers another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from memedit.evaluation.report.plots import around, by_kind, scores, tradeoff
from memedit.evaluation.rows import Row

INTERVALS = {"low": 0.4, "high": 0.6}


def row(method: str, metric: str, value: float = 0.5, task: str = "zsre", **other: Any) -> Row:
    bounds = {**INTERVALS, **other}
    kind = bounds.pop("kind", "")
    return Row(method, task, "single", metric, kind, "generated", value, **bounds, n=9, cases=9)


def points(axes: Any) -> list[tuple[float, float, bool]]:
    """Return (x, y, filled) of every marker."""
    return [
        (float(x), float(y), line.get_markerfacecolor() != "none")
        for line in axes.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_without_an_interval_a_point_is_hollow_and_has_no_bar() -> None:
    rows = [
        row("ice", "edit_success"),
        row("rome", "edit_success", 1.0, low=None, high=None),
    ]
    figure: Any = scores(rows, ["ice", "rome"], "generated")
    [axes] = figure.axes
    assert sorted(points(axes)) == [(0.5, 0.0, True), (1.0, 1.0, False)]
    segments = [seg for bars in axes.collections for seg in bars.get_segments()]
    wide = [seg for seg in segments if seg[0][0] < seg[1][0]]
    assert len(wide) == 1 and wide[0][0][0] == pytest.approx(0.4)


def test_markers_of_one_line_do_not_touch() -> None:
    kinds = [
        row(method, "locality", 1.0, kind=kind)
        for method in ("none", "ice", "ft-m", "rome")
        for kind in ("Forgetfulness", "Other_Topic")
    ]
    tasks = [row("ice", "edit_success", 1.0, task) for task in "abcdefg"]
    for figure in (
        by_kind(kinds, ["none", "ice", "ft-m", "rome"], "locality"),
        scores(tasks, ["ice"], "generated"),
    ):
        drawn: Any = figure
        drawn.draw_without_rendering()
        axes = drawn.axes[0]
        heights = sorted(axes.transData.transform([(x, y) for x, y, _ in points(axes)])[:, 1])
        inches = [(b - a) / drawn.dpi for a, b in pairwise(heights)]
        assert min(inches) * 72 > 4.5, "a marker is 4.5 points wide"


def test_points_that_would_cover_each_other_are_drawn_around_one_another_where_they_are() -> None:
    assert around([(1.0, 1.0), (0.5, 1.0)]) == [0, 0]
    assert around([(1.0, 1.0), (0.5, 1.0), (0.99, 1.0)]) == [1, 0, 0]
    rows = [row(m, metric, 1.0) for m in ("none", "ice") for metric in ("edit_success", "locality")]
    figure: Any = tradeoff(rows, ["none", "ice"])
    assert [point[0] for point in points(figure.axes[0])] == [1.0, 1.0], "what was measured"
    sizes = [line.get_markersize() for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert max(sizes) >= min(sizes) + 2


def test_a_legend_of_long_names_is_not_cut_off() -> None:
    names = [f"memit:layers=[1,2,3]:contexts=0:search.clamp=2:search.rate=0.{n}" for n in range(6)]
    rows = [row(m, metric, 0.9) for m in names for metric in ("edit_success", "locality")]
    figure: Any = tradeoff(rows, names)
    for _ in range(2):
        figure.draw_without_rendering()
    [box] = [one.get_window_extent() for one in figure.legends]
    assert box.x1 <= figure.bbox.x1
    assert figure.axes[0].xaxis.label.get_window_extent().y0 >= 0
