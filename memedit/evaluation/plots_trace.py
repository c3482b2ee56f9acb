"""A causal trace drawn: where putting a state back brings the answer back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memedit.errors import InvalidInputError, MissingResourceError, SettingsError
from memedit.modeling.trace import Kind, Position, Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
_TITLES = {Kind.HIDDEN: "block output", Kind.MLP: "MLP", Kind.ATTENTION: "attention"}
_LABELS = {
    Position.SUBJECT_FIRST: "subject, first",
    Position.SUBJECT_LAST: "subject, last",
    Position.AFTER_SUBJECT: "after subject",
    Position.PROMPT_LAST: "prompt, last",
}


def trace_figure(trace: Trace) -> Figure:
    """Draw a heat map per kind (position by layer), and the profile at the subject's last token.

    Raises:
        MissingResourceError: matplotlib is not installed.

    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingResourceError(
            "plots need matplotlib, not installed here; run: pip install 'memedit[models]'"
        ) from error
    kinds = [kind for kind in Kind if any(cell.kind == kind for cell in trace.cells)]
    positions = [at for at in Position if any(cell.position == at for cell in trace.cells)]
    largest = max((abs(cell.effect.mean) for cell in trace.cells), default=0.0) or 1.0
    figure = Figure(figsize=(4.2 * len(kinds), 5.6), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False)
    picture = None
    for column, kind in enumerate(kinds):
        grid = [[float("nan")] * trace.n_layers for _ in positions]
        for cell in trace.cells:
            if cell.kind == kind:
                grid[positions.index(cell.position)][cell.layer] = cell.effect.mean
        above = axes[0][column]
        picture = above.imshow(
            grid, aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest, origin="upper"
        )
        width = f", windows of {trace.window}" if kind != Kind.HIDDEN and trace.window > 1 else ""
        above.set_title(f"{_TITLES[kind]}{width}")
        above.set_yticks(range(len(positions)))
        above.set_yticklabels([_LABELS[at] for at in positions] if column == 0 else [])
        below = axes[1][column]
        profile = trace.profile(kind, Position.SUBJECT_LAST)
        layers = [cell.layer for cell in profile]
        below.plot(layers, [cell.effect.mean for cell in profile], marker="o", color="#3b82f6")
        below.fill_between(
            layers,
            [cell.effect.low for cell in profile],
            [cell.effect.high for cell in profile],
            color="#3b82f6",
            alpha=0.25,
            linewidth=0,
        )
        below.axhline(0.0, color="#888888", linewidth=0.8)
        below.set_xlim(above.get_xlim())
        below.set_ylim(min(0.0, *_lows(trace)) * 1.05, max(0.0, *_highs(trace)) * 1.05 or 1.0)
        below.set_xlabel("layer")
    axes[1][0].set_ylabel("indirect effect at\nthe subject's last token")
    if picture is not None:
        figure.colorbar(picture, ax=list(axes[0]), label="indirect effect")
    figure.suptitle(
        f"{trace.known} known facts: clean {trace.clean.mean:.2f}, "
        f"corrupted {trace.corrupted.mean:.2f}"
    )
    return figure


def save_trace_plot(trace: Trace, path: Path) -> None:
    """Draw a trace into a file; its name says in which format.

    Raises:
        InvalidInputError: a format that is not drawn, or a file that cannot be written.
        MissingResourceError: matplotlib is not installed.

    """
    drawn = trace_figure(trace)
    try:
        drawn.savefig(path, format=check_format(path))
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error


def check_format(path: Path) -> str:
    """Return the format that a file's name asks for.

    Raises:
        SettingsError: a format that is not drawn.

    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise SettingsError(
            f"{path}: cannot draw {kind or 'a file without an ending'!r}; end its name in "
            f".{', .'.join(FORMATS)}"
        )
    return kind


def _lows(trace: Trace) -> list[float]:
    cells = [cell for cell in trace.cells if cell.position == Position.SUBJECT_LAST]
    return [cell.effect.low for cell in cells] or [0.0]


def _highs(trace: Trace) -> list[float]:
    cells = [cell for cell in trace.cells if cell.position == Position.SUBJECT_LAST]
    return [cell.effect.high for cell in cells] or [0.0]
