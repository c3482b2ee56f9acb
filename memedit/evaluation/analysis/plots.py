"""The plots of an analysis. Each returns a figure, or None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from memedit.evaluation.analysis.record import (
    FEW_PAIRS,
    MANY_PAIRS,
    Changed,
    Located,
    Mapped,
    Similar,
)
from memedit.evaluation.report.svg import (
    FAINT,
    INK,
    color,
    dressed,
    figure,
    marker,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SITES = ("hidden", "mlp", "attention")
PANELS = 12
"""Heatmaps drawn at most: the page says how many there are."""


def heatmaps(changes: Sequence[Changed]) -> Figure | None:
    """Draw |ΔW| of one edit per method; every panel has its own scale, darkest at nothing."""
    shown = [one for one in changes if one.heat][:PANELS]
    if not shown:
        return None
    from matplotlib.colors import PowerNorm

    wide = min(3, len(shown))
    high = -(-len(shown) // wide)
    made = figure(3.2 * wide, 2.5 * high)
    for place, one in enumerate(shown):
        axes = dressed(made.add_subplot(high, wide, place + 1), one.method)
        grid = np.array(one.heat)
        picture = axes.imshow(
            grid,
            cmap="viridis",
            norm=PowerNorm(0.5, vmin=0.0, vmax=float(grid.max()) or 1.0),
            aspect="auto",
            interpolation="nearest",
            extent=(0, one.columns, one.rows, 0),
        )
        axes.set_xlabel(plain(f"column of {one.parameter}"), fontsize=7)
        axes.set_ylabel("row" if place % wide == 0 else "", fontsize=7)
        scale = made.colorbar(picture, ax=axes, fraction=0.06, pad=0.03)
        scale.set_label("largest |ΔW| of the block", color=INK, size=7)
        scale.ax.tick_params(colors=INK, labelsize=6.5, length=2)
        scale.outline.set_edgecolor(FAINT)
    return made


def hits(mapped: Sequence[Mapped]) -> Figure | None:
    """Draw Hit@10 and Hit@50 of the target's tokens before and after: a panel each."""
    if not mapped:
        return None
    methods = list(dict.fromkeys(one.method for one in mapped))
    made = figure(9.6, 0.95 + 0.42 * len(methods))
    for place, k in enumerate((10, 50)):
        axes = dressed(made.add_subplot(1, 2, place + 1), f"Hit@{k}", grid="x")
        for line, method in enumerate(methods):
            own = [one for one in mapped if one.method == method]
            for after, shift in ((False, -0.19), (True, 0.19)):
                plus = sum(one.hit(k, after=after) for one in own) / len(own)
                either = sum(one.hit(k, after=after, either_sign=True) for one in own) / len(own)
                shade = color(0 if after else 9)
                first = line == 0 and place == 0
                axes.barh(line + shift, either, height=0.34, color=shade, alpha=0.35)
                axes.barh(
                    line + shift,
                    plus,
                    height=0.34,
                    color=shade,
                    label=("after the edit" if after else "before") if first else None,
                )
            level = sum(one.chance(k) for one in own) / len(own)
            axes.plot([level, level], [line - 0.4, line + 0.4], color=INK, lw=1, ls=":")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_yticks(range(len(methods)), [plain(m) for m in methods] if place == 0 else [])
    made.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
    return made


def traces(located: Sequence[Located]) -> Figure | None:
    """Draw the answer's probability by layer: clean, corrupted, and with one layer restored."""
    own = [one for one in located if one.role == "edit"] or list(located)
    sites = [site for site in SITES if any(site in one.restored for one in own)]
    if not sites:
        return None
    made = figure(9.6, 3.1)
    clean = float(np.mean([one.clean for one in own]))
    corrupted = float(np.mean([one.corrupted for one in own]))
    for place, site in enumerate(sites):
        axes = dressed(made.add_subplot(1, len(sites), place + 1), f"restored: {site}", grid="y")
        values = np.array([one.restored[site] for one in own if site in one.restored])
        layers = np.arange(values.shape[1])
        mean = values.mean(0)
        error = 2 * values.std(0) / np.sqrt(len(values))
        shade = color(place)
        axes.fill_between(layers, mean - error, mean + error, color=shade, alpha=0.2, linewidth=0)
        axes.plot(layers, mean, color=shade, marker=marker(place), markersize=3.5, lw=1.5)
        axes.axhline(clean, color=INK, lw=1, ls="--")
        axes.axhline(corrupted, color=INK, lw=1, ls=":")
        axes.set_ylim(-0.02, 1.05)
        axes.set_xlabel("layer")
        if place == 0:
            axes.set_ylabel("probability of the answer")
    _named_lines(made)
    return made


def _named_lines(made: Figure) -> None:
    """Name the two levels above the plot: beside their lines the words would cover ticks."""
    from matplotlib.lines import Line2D

    made.legend(
        [Line2D([], [], color=INK, lw=1, ls=style) for style in ("--", ":")],
        ["clean: nothing disturbed", "corrupted: noise on the subject, nothing restored"],
        loc="outside upper left",
        ncols=2,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )


def similarities(similar: Sequence[Similar]) -> Figure | None:
    """Draw RSim against how many units are compared: a panel per kind of unit.

    Of fewer than `FEW_PAIRS` pairs nothing is drawn, and of fewer than `MANY_PAIRS` hollow points
    without a line: so few tell little.
    """
    enough = [one for one in similar if one.pairs >= FEW_PAIRS]
    panels = list(dict.fromkeys(one.units for one in enough))[:PANELS]
    if not panels:
        return None
    groups = list(dict.fromkeys(one.group for one in enough))
    wide = min(3, len(panels))
    high = -(-len(panels) // wide)
    made = figure(3.2 * max(2, wide), 2.5 * high + 0.45)
    for place, units in enumerate(panels):
        kind, _, of = units.partition(" (")
        title = f"{kind}: {of.rstrip(')').replace('.weight', '')}"
        axes = dressed(made.add_subplot(high, wide, place + 1), grid="y")
        axes.set_title(plain(title), color=INK, fontsize=8, loc="left")
        for number, group in enumerate(groups):
            own = [one for one in enough if one.units == units and one.group == group]
            points = [(one.k, one.rsim) for one in own if one.rsim is not None]
            if points:
                sure = own[0].pairs >= MANY_PAIRS
                axes.plot(
                    [k for k, _ in points],
                    [value for _, value in points],
                    color=color(number),
                    marker=marker(number),
                    markerfacecolor=color(number) if sure else "none",
                    markersize=3.5,
                    lw=1.4 if sure else 0,
                )
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(f"strongest {kind} compared")
        axes.set_ylabel("RSim" if place % wide == 0 else "")
    _legend(made, [f"{group} ({_pairs(enough, group)})" for group in groups])
    return made


def _pairs(similar: Sequence[Similar], group: str) -> str:
    """Say how many pairs a group has, over all panels."""
    found = sorted({one.pairs for one in similar if one.group == group})
    return " to ".join(f"{n:,}" for n in dict.fromkeys((found[0], found[-1]))) + " pairs"


def _legend(made: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color(i), marker=marker(i), linestyle="", markersize=4)
        for i in range(len(names))
    ]
    made.legend(
        handles,
        [plain(name) for name in names],
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        edgecolor=FAINT,
    )
