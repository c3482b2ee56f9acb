"""Writes nothing: edits are found and reported, and the prompt stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.incontext.base import InContextMethod, Insertion
from memedit.registry import register
from memedit.types import Edit, Surface


@register("none")
class Nothing(InContextMethod):
    """The baseline of evaluations, and a way to watch a memory before trusting it."""

    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return an empty insertion."""
        return Insertion()
