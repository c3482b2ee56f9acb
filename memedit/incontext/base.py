"""What an in-context method promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from memedit.types import Edit, Surface


@dataclass(frozen=True, slots=True)
class Insertion:
    """Text to stand around what is asked; the asked text itself is never changed."""

    before: str = ""
    after: str = ""


class InContextMethod(ABC):
    """Writes edits into a prompt.  Pure: the same query and edits give the same insertion."""

    @abstractmethod
    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return what to put around ``query`` so that the model answers with ``edits`` applied.

        Args:
            query: the last user turn, or the last block of a completion prompt.
            edits: those that concern the query, most probable first; at least one.
            surface: whether the text stands in a chat turn or in a running text.

        """
