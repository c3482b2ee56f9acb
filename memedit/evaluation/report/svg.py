"""A matplotlib figure as SVG that lives inside an HTML page.

Text stays text, lines take the page's own text colour (so that they are seen in a light and in a
dark page), identifiers carry the plot's name, and nothing refers to anything outside.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's text colour while matplotlib draws."""
FAINT = "#808081"
"""Grid lines: seen on white and on black."""
COLORS = (
    "#3b82f6",
    "#f97316",
    "#10b981",
    "#ef4444",
    "#8b5cf6",
    "#a16207",
    "#ec4899",
    "#0ea5e9",
    "#84cc16",
    "#64748b",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")


def color(place: int) -> str:
    """Return the colour of the series at `place`."""
    return COLORS[place % len(COLORS)]


def marker(place: int) -> str:
    """Return the marker of the series at `place`: differs where the colours come round again."""
    return MARKERS[(place + place // len(COLORS)) % len(MARKERS)]


def figure(width: float, height: float) -> Figure:
    """Make an empty figure of that size in inches; no window and no global list know of it."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    made.patch.set_alpha(0.0)
    return made


def dressed(axes: Axes, title: str = "", grid: str = "") -> Axes:
    """Give axes the look of the report; `grid` is "x", "y", "both" or "" for none."""
    axes.patch.set_alpha(0.0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.xaxis.label.set(color=INK, size=8.5)
    axes.yaxis.label.set(color=INK, size=8.5)
    if title:
        axes.set_title(plain(title), color=INK, fontsize=9.5, fontweight="bold", loc="left")
    if grid:
        axes.grid(axis=grid, color=FAINT, alpha=0.25, linewidth=0.7)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    return axes


def plain(text: str) -> str:
    r"""Return a text that matplotlib draws as it stands: `$` starts no formula.

    >>> plain("5$ and 6$")
    '5\\$ and 6\\$'
    """
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).replace("$", r"\$")


def inline(drawn: Figure, name: str, says: str) -> str:
    """Return `<svg>` for the middle of an HTML page.

    Args:
        drawn: the figure.
        name: a word that no other plot of the page has: it goes before every identifier.
        says: what the plot shows, for those who do not see it.

    """
    import matplotlib

    buffer = io.StringIO()
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context(
            {"svg.fonttype": "none", "svg.hashsalt": "memedit", "font.family": "sans-serif"}
        ),
    ):
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # A first drawing does not yet settle the layout of axes of a fixed shape.
        drawn.draw_without_rendering()
        drawn.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    # Images are named by what they show, so that two alike have one name; nothing refers to it.
    text = re.sub(r'(<image [^>]*?) id="image[0-9a-f]*"', r"\1", text)
    # Only attributes of tags: a drawn text may hold `id="` as well, but there it is escaped.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = text.replace(INK, "currentColor").replace("xlink:href", "href")
    label = says.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
