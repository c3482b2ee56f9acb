"""Scope drawn: what still fires against the false alarms that are accepted for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.evaluation.plots_trace import check_format
from memedit.evaluation.report.svg import INK, color, dressed
from memedit.evaluation.report.svg import figure as page_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float]]
"""(share of ordinary prompts, share of prompts that should fire) on which something fires."""


def check_scope_plot(path: Path) -> None:
    """Tell before any work whether the plot can be drawn.

    Raises:
        InvalidInputError: the file's name ends in no format that is drawn.
        MissingResourceError: matplotlib is not installed.

    """
    check_format(path)
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingResourceError(
            "plots need matplotlib, not installed here; run: pip install 'memedit[models]'"
        )


def save_scope_plot(
    curves: Mapping[str, Curve], accepted: Sequence[float], prompts: int, path: Path
) -> None:
    """Draw a curve per kind of prompt that should fire, and a line at each accepted rate.

    Args:
        curves: by kind.
        accepted: rates of false alarms.
        prompts: ordinary prompts; below one of them the axis is linear, above it logarithmic.
        path: its ending says in which format.

    Raises:
        InvalidInputError: a format that is not drawn, or a file that cannot be written.

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    _draw(axes, curves, accepted, prompts)
    axes.set_xlabel(f"false alarms: share of {prompts:,} ordinary prompts on which an edit fires")
    axes.set_ylabel("share of prompts that should fire, and do")
    if curves:
        axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def save_rivals_plot(
    curves: Mapping[str, Mapping[str, Curve]], accepted: Sequence[float], prompts: int, path: Path
) -> None:
    """Draw several classifiers against each other: a panel per kind of prompt that should fire.

    Args:
        curves: by classifier, then by kind; the kinds are those of the first.
        accepted: rates of false alarms, each marked by a line.
        prompts: unrelated prompts; below one of them the axis is linear, above it logarithmic.
        path: its ending says in which format.

    Raises:
        InvalidInputError: nothing to draw, a format that is not drawn, or a file that cannot be
            written.

    """
    _save(rivals_figure(curves, accepted, prompts), path)


def rivals_figure(
    curves: Mapping[str, Mapping[str, Curve]],
    accepted: Sequence[float],
    prompts: int,
    *,
    on_page: bool = False,
) -> Figure:
    """Return what ``save_rivals_plot`` draws; ``on_page``: with the look of the report.

    Raises:
        InvalidInputError: nothing to draw.

    """
    from matplotlib.figure import Figure

    kinds = list(next(iter(curves.values()), {}))
    if not kinds:
        raise InvalidInputError("the data set has no prompts that should fire; nothing to draw")
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)
    width, height = 4.0 * columns + 1.0, 3.2 * rows + 0.8
    if on_page:
        figure = page_figure(width, height)
    else:
        figure = Figure(figsize=(width, height), layout="constrained")
    ink = INK if on_page else "black"
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, kind in zip(grid, kinds, strict=False):
        _draw(axes, {name: of[kind] for name, of in curves.items()}, accepted, prompts, ink)
        if on_page:
            dressed(axes, kind.replace("_", " "), grid="y")
        else:
            axes.set_title(kind)
    for place in range(len(kinds), len(grid)):
        grid[place].set_visible(False)
        # the panel above is now the last of its column, whose ticks no other one says
        grid[place - columns].tick_params(labelbottom=True)
    # outside, as curves go everywhere inside
    figure.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2 * columns,
        frameon=False,
        labelcolor=ink,
    )
    figure.supxlabel(
        f"false alarms: share of {prompts:,} unrelated prompts on which an edit fires", color=ink
    )
    figure.supylabel("recall: share of prompts on which the right edit fires", color=ink)
    return figure


def _draw(
    axes: Axes,
    curves: Mapping[str, Curve],
    accepted: Sequence[float],
    prompts: int,
    ink: str = "black",
) -> None:
    for place, (name, points) in enumerate(curves.items()):
        corners = turns(points)
        alarms, fired = [x for x, _ in corners], [y for _, y in corners]
        axes.plot(alarms, fired, drawstyle="steps-post", color=color(place), label=name)
    for rate in accepted:
        axes.axvline(rate, color="#888888", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{rate:.3g}",
            (rate, 0.02),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
            color=ink,
        )
    least = 1 / max(prompts, 2)
    axes.set_xscale("symlog", linthresh=least)
    axes.set_xlim(0, 1)
    # powers of ten below one prompt lie on the linear part, on top of the zero
    powers = [10.0**-power for power in range(10) if 10.0**-power >= least]
    axes.set_xticks([0.0, *powers], ["0", *(f"{tick:g}" for tick in powers)])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)


def turns(points: Curve) -> list[tuple[float, float]]:
    """Leave out the points of a curve between which nothing turns: they make files large."""
    kept: list[tuple[float, float]] = []
    for place, (x, y) in enumerate(points):
        last = place == len(points) - 1
        if not last and points[place + 1][0] == x:
            continue  # the step goes straight up to a later one
        if last or not kept or kept[-1][1] != y:
            kept.append((x, y))
    return kept


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, format=check_format(path))
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
