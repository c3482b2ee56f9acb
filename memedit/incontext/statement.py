"""The plain form for chat models: say which facts changed."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.incontext.base import InContextMethod, Insertion
from memedit.incontext.fact import sentences
from memedit.registry import register
from memedit.types import Edit, Surface

HEADER = "Updated facts, which replace what you know:\n"


@register("statement")
class Statement(InContextMethod):
    """A list of the facts, one a line, and a blank line before what is asked."""

    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return the header and the list; the same on both surfaces."""
        facts = "".join(f"- {text}\n" for text in sentences(edits))
        return Insertion(f"{HEADER}{facts}\n" if facts else "")
