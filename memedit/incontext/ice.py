"""ICE: ask the model to imagine the fact."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.incontext.base import InContextMethod, Insertion
from memedit.incontext.fact import lowered, sentences
from memedit.registry import register
from memedit.types import Edit, Surface


@register("ice")
class Ice(InContextMethod):
    """``Imagine that {statement}`` on a line of its own per fact, right before what is asked.

    Source: Cohen et al. 2023, "Evaluating the Ripple Effects of Knowledge Editing in Language
    Models", section 5.
    """

    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return one line per fact; the same on both surfaces."""
        return Insertion("".join(f"Imagine that {lowered(text)}\n" for text in sentences(edits)))
