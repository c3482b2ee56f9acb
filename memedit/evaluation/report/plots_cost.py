"""The plots of what edits cost, and of how long they last in a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from memedit.evaluation.bootstrap import interval_of_average
from memedit.evaluation.report.labels import (
    AGE,
    DASH,
    HEADLINES,
    duration,
    kind_said,
    measure,
    number,
    size,
)
from memedit.evaluation.report.plots import legend, spread
from memedit.evaluation.report.run import Spent
from memedit.evaluation.report.svg import INK, color, dressed, figure, marker, plain
from memedit.evaluation.report.tables import floors
from memedit.evaluation.rows import Row, Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEAN = "mean over tasks"
_Points = dict[tuple[str, str, str], dict[int, Row]]
"""(task, metric, method) -> length -> its row."""


def cost(spent: Sequence[Spent]) -> Figure | None:
    """Draw seconds per edit, tokens added per request and memory added: a panel each."""
    panels = [
        ("Time per edit", [one.seconds_per_edit for one in spent], duration, True),
        ("Tokens added", [one.tokens_added for one in spent], _tokens, False),
        ("Memory added", [_float(one.added_bytes) for one in spent], _size, False),
    ]
    panels = [panel for panel in panels if any(value is not None for value in panel[1])]
    if not panels:
        return None
    several = len({one.setting for one in spent}) > 1
    names = [f"{one.method} · {one.setting}" if several else one.method for one in spent]
    made = figure(9.6, 0.8 + 0.27 * len(spent))
    for place, (title, values, written, log) in enumerate(panels):
        axes = dressed(made.add_subplot(1, len(panels), place + 1), title, grid="x")
        known = [value for value in values if value is not None]
        floor = 0.0
        if log and min(known) > 0 and max(known) / min(known) > 30:
            axes.set_xscale("log")
            floor = 10.0 ** math.floor(math.log10(min(known)))
        for line, value in enumerate(values):
            if value is None:
                axes.text(
                    0.02, line, DASH, va="center", color=INK, transform=axes.get_yaxis_transform()
                )
                continue
            axes.barh(line, value - floor, left=floor, height=0.66, color=color(line))
            axes.annotate(
                plain(written(value)),
                (value, line),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=INK,
            )
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.3 if floor else high * 1.3 or 1.0)
        axes.set_ylim(len(spent) - 0.5, -0.5)
        axes.set_yticks(range(len(spent)), [plain(n) for n in names] if place == 0 else [])
        axes.tick_params(axis="x", labelbottom=False)
    return made


def _tokens(value: float) -> str:
    return number(value, 1)


def _size(value: float) -> str:
    return size(int(value))


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)


def by_length(
    rows: Sequence[Row], methods: Sequence[str], scored: Sequence[Scored] = ()
) -> Figure | None:
    """Draw the headline metrics against the length of the sequence, scored at its end.

    A line of panels per task; above them, where there are several, the plain mean over the tasks
    that are measured at every length that the method has, with its interval where `scored` has all
    its probes; of opinions edit success is a floor, and not in it (see `tables.floors`).
    """
    found: _Points = {}
    for row in rows:
        length = _length(row.setting)
        if length and row.kind == "" and row.scoring == "generated" and row.metric in HEADLINES:
            found.setdefault((row.task, row.metric, row.method), {})[length] = row
    lengths = sorted({length for points in found.values() for length in points})
    if len(lengths) < 2:
        return None
    tasks = list(dict.fromkeys(task for task, _, _ in found))
    metrics = [m for m in HEADLINES if any(key[1] == m for key in found)]
    lines = [_MEAN, *tasks] if len(tasks) > 1 else tasks
    low = floors(rows)
    averaged = {k: v for k, v in found.items() if not (k[0] in low and k[1] == "edit_success")}
    found |= _means(averaged, _case_means(scored))
    crowded = any(b < 3 * a for a, b in pairwise(lengths))
    made = figure(2.4 * max(3, len(metrics)), 1.75 * len(lines) + 0.6)
    for down, task in enumerate(lines):
        for across, metric in enumerate(metrics):
            axes = made.add_subplot(len(lines), len(metrics), down * len(metrics) + across + 1)
            dressed(axes, "" if down else measure(metric).title, grid="y")
            for place, method in enumerate(methods):
                if points := found.get((task, metric, method), {}):
                    _line(axes, sorted(points), [points[n] for n in sorted(points)], place)
            axes.set_xscale("log")
            axes.set_xlim(lengths[0] / 1.3, lengths[-1] * 1.3)
            axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
            last = down == len(lines) - 1
            axes.tick_params(axis="x", labelrotation=60 if crowded else 0, labelbottom=last)
            axes.minorticks_off()
            axes.set_ylim(-0.03, 1.03)
            if across == 0:
                axes.set_ylabel(plain(task))
            if last:
                axes.set_xlabel("edits in the sequence")
    legend(made, methods)
    return made


def _means(found: _Points, cases: Mapping[tuple[str, ...], Sequence[float]]) -> _Points:
    """Return for each metric and method its mean over tasks at every length that it has."""
    lengths: dict[tuple[str, str], set[int]] = {}
    for (_, metric, method), points in found.items():
        lengths.setdefault((metric, method), set()).update(points)
    whole: dict[tuple[str, str, str], list[Mapping[int, Row]]] = {}
    for (_, metric, method), points in found.items():
        if points.keys() == lengths[metric, method]:  # else each length had a mean of other tasks
            whole.setdefault((_MEAN, metric, method), []).append(points)
    return {
        key: {n: _mean([one[n] for one in own], cases) for n in own[0]}
        for key, own in whole.items()
    }


def _mean(rows: Sequence[Row], cases: Mapping[tuple[str, ...], Sequence[float]]) -> Row:
    """Return the plain mean of several tasks' rows, with its interval where their cases are known.

    The generator is always alike, so that the same run draws the same picture.
    """
    value = sum(row.value for row in rows) / len(rows)
    mean = replace(rows[0], task="", value=value, low=None, high=None)
    groups = [cases.get((r.method, r.task, r.setting, r.metric), ()) for r in rows]
    if not all(own and len(own) == row.cases for own, row in zip(groups, rows, strict=True)):
        return mean
    low, high = interval_of_average(groups, np.random.default_rng(0), share=True) or (None, None)
    return replace(mean, low=low, high=high)


def _case_means(scored: Sequence[Scored]) -> dict[tuple[str, ...], list[float]]:
    """Return (method, task, setting, metric) -> of each case the mean over its answers."""
    asked: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for one in scored:
        if one.scoring == "generated" and one.metric in HEADLINES and _length(one.setting):
            key = (one.method, one.task, one.setting, one.metric)
            asked.setdefault(key, {}).setdefault(one.case, []).append(one.score)
    return {
        key: [sum(scores) / len(scores) for scores in of_case.values()]
        for key, of_case in asked.items()
    }


def _length(setting: str) -> int | None:
    kind, _, length = setting.partition(":")
    return int(length) if kind == "sequential" and length.isdigit() else None


def by_age(rows: Sequence[Row], methods: Sequence[str]) -> Figure | None:
    """Draw edit success against age: how many edits were made after the one that is asked."""
    found = [r for r in rows if r.metric == AGE and r.kind and r.scoring == "generated"]
    panels = list(dict.fromkeys((row.task, row.setting) for row in found))
    if not panels:
        return None
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    made = figure(4.8 * across, 2.6 * down + 0.35)
    for place, (task, setting) in enumerate(panels):
        own = [row for row in found if (row.task, row.setting) == (task, setting)]
        kinds = sorted({row.kind for row in own})
        axes = dressed(made.add_subplot(down, across, place + 1), f"{task} · {setting}", grid="y")
        for number_of, method in enumerate(methods):
            points = sorted((row for row in own if row.method == method), key=lambda r: r.kind)
            if points:
                _line(axes, [kinds.index(row.kind) for row in points], points, number_of)
        ages = [kind_said(kind).partition(" later")[0].replace(" to ", DASH) for kind in kinds]
        axes.set_xticks(range(len(kinds)), [plain(age.replace("no", "0")) for age in ages])
        axes.tick_params(axis="x", labelrotation=30 if len(kinds) > 6 else 0)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("edits made after it")
        axes.set_ylabel("edit success at the end")
    legend(made, methods)
    return made


def _line(axes: Axes, xs: Sequence[float], rows: Sequence[Row], place: int) -> None:
    """Draw one method's values with their intervals, hollow where there is none."""
    shade = color(place)
    axes.plot(xs, [row.value for row in rows], color=shade, linewidth=1.4)
    for told in (True, False):
        own = [(x, row) for x, row in zip(xs, rows, strict=True) if told is (row.low is not None)]
        if own:
            axes.errorbar(
                [x for x, _ in own],
                [row.value for _, row in own],
                yerr=spread([row for _, row in own]) if told else None,
                fmt=marker(place),
                color=shade,
                markerfacecolor=shade if told else "none",
                markersize=4,
                elinewidth=1.0,
            )
