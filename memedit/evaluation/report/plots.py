"""The plots of a run's scores. Each returns a figure, or None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memedit.evaluation.report.labels import HEADLINES, VERDICTS, measure
from memedit.evaluation.report.mistakes import Mistakes, classes
from memedit.evaluation.report.svg import FAINT, INK, color, dressed, figure, marker, plain
from memedit.evaluation.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def scores(rows: Sequence[Row], methods: Sequence[str], scoring: str) -> Figure | None:
    """Draw the headline metrics of one setting: a panel each, a line per method, a dot per task."""
    chosen = [r for r in rows if r.scoring == scoring and r.kind == "" and r.metric in HEADLINES]
    metrics = [name for name in HEADLINES if any(row.metric == name for row in chosen)]
    there = [method for method in methods if any(row.method == method for row in chosen)]
    groups = list(dict.fromkeys(row.task for row in chosen))
    if not metrics:
        return None
    step = _step(len(groups))
    made = figure(9.6, 1.1 + step * len(there) + 0.16 * (len(groups) // 4 + 1))
    for panel, metric in enumerate(metrics):
        axes = dressed(
            made.add_subplot(1, len(metrics), panel + 1), measure(metric).title, grid="x"
        )
        for place, group in enumerate(groups):
            own = [r for r in chosen if r.metric == metric and r.task == group]
            shift = _shift(place, len(groups))
            _dots(axes, own, [there.index(row.method) + shift for row in own], place)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(len(there) - 0.5, -0.5)
        axes.set_yticks(range(len(there)), [plain(m) for m in there] if panel == 0 else [])
    if len(groups) > 1:
        legend(made, groups)
    return made


def tradeoff(rows: Sequence[Row], methods: Sequence[str]) -> Figure | None:
    """Draw edit success against locality, both generated: a panel per task and setting."""
    found = {
        (r.task, r.setting, r.method, r.metric): r
        for r in rows
        if r.scoring == "generated" and r.kind == "" and r.metric in ("edit_success", "locality")
    }
    panels = list(
        dict.fromkeys(
            key[:2]
            for key in found
            if any((*key[:2], m, "edit_success") in found for m in methods)
            and any((*key[:2], m, "locality") in found for m in methods)
        )
    )
    if not panels:
        return None
    wide = min(3, len(panels))
    high = -(-len(panels) // wide)
    lines = 1 + len(methods) * _name_width(methods) / (3.2 * wide)
    made = figure(max(3.2 * wide, _name_width(methods)), 3.05 * high + 0.19 * lines)
    several = len({setting for _, setting in panels}) > 1
    for place, (task, setting) in enumerate(panels):
        title = f"{task} · {setting}" if several else task
        axes = dressed(made.add_subplot(high, wide, place + 1), title, grid="both")
        points = {
            method: (x, y)
            for method in methods
            if (x := found.get((task, setting, method, "edit_success")))
            and (y := found.get((task, setting, method, "locality")))
        }
        inner = around([(x.value, y.value) for x, y in points.values()])
        for (method, (x, y)), depth in zip(points.items(), inner, strict=True):
            _dots(axes, [x], [y.value], methods.index(method), upright=[y], around=depth)
        axes.set_xlim(-0.06, 1.06)
        axes.set_ylim(-0.06, 1.06)
        axes.set_aspect("equal")
        axes.set_xlabel("edit success")
        axes.set_ylabel("locality")
    legend(made, list(methods))
    return made


def by_kind(rows: Sequence[Row], methods: Sequence[str], metric: str) -> Figure | None:
    """Draw a metric by the data set's own kinds, generated: a line per kind, a dot per method."""
    chosen = [r for r in rows if r.scoring == "generated" and r.metric == metric and r.kind]
    if not chosen:
        return None
    several = len({row.setting for row in chosen}) > 1
    lines = list(dict.fromkeys((row.task, row.setting, row.kind) for row in chosen))
    there = [method for method in methods if any(row.method == method for row in chosen)]
    step = _step(len(there))
    made = figure(9.6, 0.75 + step * len(lines) + 0.16 * (len(there) // 6 + 1))
    axes = dressed(made.add_subplot(), measure(metric).title + " by kind", grid="x")
    for place, method in enumerate(there):
        own = [row for row in chosen if row.method == method]
        shift = _shift(place, len(there))
        heights = [lines.index((row.task, row.setting, row.kind)) + shift for row in own]
        _dots(axes, own, heights, place)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    names = [
        f"{task} · {setting} · {kind}" if several else f"{task} · {kind}"
        for task, setting, kind in lines
    ]
    axes.set_yticks(range(len(lines)), [plain(name.replace("_", " ")) for name in names])
    legend(made, there)
    return made


def verdicts(found: Sequence[Mistakes]) -> Figure | None:
    """Draw the share of answers that failed, by class of error: a bar per method and metric."""
    bars = [one for one in found if one.asked and one.counts]
    if not bars:
        return None
    several = len({one.setting for one in bars}) > 1
    names = [
        f"{measure(one.metric).title} · {one.method}" + (f" · {one.setting}" if several else "")
        for one in bars
    ]
    made = figure(9.6, 0.9 + 0.26 * len(bars))
    axes = dressed(made.add_subplot(), grid="x")
    kinds = classes(bars)
    left = [0.0] * len(bars)
    for kind in kinds:
        widths = [dict(one.counts).get(kind, 0) / one.asked for one in bars]
        known = list(VERDICTS).index(kind) if kind in VERDICTS else len(VERDICTS)
        axes.barh(
            range(len(bars)), widths, left=left, height=0.72, color=color(known + 1), label=kind
        )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, max(1e-6, min(1.0, max(left) * 1.05)))
    axes.set_yticks(range(len(bars)), [plain(name) for name in names])
    axes.set_xlabel("share of the answers that were asked for")
    made.legend(loc="outside upper left", ncols=6, frameon=False, fontsize=8, labelcolor=INK)
    return made


def _step(n: int) -> float:
    """Return the height in inches of a line with `n` dots under one another, none on another."""
    return max(0.3, 0.115 * n)


def _shift(place: int, n: int) -> float:
    """Return how far a dot stands from the middle of its line, as a part of the line's height."""
    return (place - (n - 1) / 2) * 0.7 / max(n, 2)


def around(points: Sequence[tuple[float, float]], near: float = 0.03) -> list[int]:
    """Return for each point how many it is drawn around, so that none hides another.

    Of those that are nearer to each other than `near` the first is the outermost.  None is moved:
    where a point stands is what was measured.
    """
    found: list[list[int]] = []
    for place, (x, y) in enumerate(points):
        for group in found:
            if any(abs(points[i][0] - x) < near and abs(points[i][1] - y) < near for i in group):
                group.append(place)
                break
        else:
            found.append([place])
    inner = {place: len(group) - 1 - rank for group in found for rank, place in enumerate(group)}
    return [inner[place] for place in range(len(points))]


def _dots(
    axes: Axes,
    rows: Sequence[Row],
    ys: Sequence[float],
    place: int,
    upright: Sequence[Row] = (),
    around: int = 0,
) -> None:
    """Draw values along x with their intervals, hollow where there is none.

    `upright` are the rows whose intervals stand on y; the marker is drawn `around` so many others.
    """
    for told in (True, False):
        chosen = [
            number
            for number, row in enumerate(rows)
            if told is all(one.low is not None for one in (row, *upright))
        ]
        if not chosen:
            continue
        own = [rows[number] for number in chosen]
        axes.errorbar(
            [row.value for row in own],
            [ys[number] for number in chosen],
            xerr=spread(own),
            yerr=spread(upright) if upright else None,
            fmt=marker(place),
            color=color(place),
            markerfacecolor=color(place) if told else "none",
            markersize=4.5 + 2.5 * around,
            elinewidth=1.3,
        )


def spread(rows: Sequence[Row]) -> list[list[float]]:
    """Return how far the intervals reach down and up, as matplotlib wants it."""
    return [
        [0.0 if row.low is None else max(0.0, row.value - row.low) for row in rows],
        [0.0 if row.high is None else max(0.0, row.high - row.value) for row in rows],
    ]


def _name_width(names: Sequence[str]) -> float:
    """Return the inches that the longest name takes in a legend, its marker included."""
    return 0.4 + max(map(len, names), default=0) / 16


def legend(made: Figure, names: Sequence[str]) -> None:
    """Name the series, colour and marker by their place, above the plot."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color(i), marker=marker(i), linestyle="", markersize=5)
        for i in range(len(names))
    ]
    made.legend(
        handles,
        [plain(name) for name in names],
        loc="outside upper left",
        ncols=max(1, min(6, len(names), int(made.get_size_inches()[0] / _name_width(names)))),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.2,
        edgecolor=FAINT,
    )
