"""What an in-context method promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from memedit.config import InContextSettings
from memedit.types import Edit, Surface

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """What a method may need of the memory's encoder: it turns texts into unit vectors."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Identity of the very weights and arithmetic."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return float32 ``[n_texts, dim]`` with rows of length 1."""


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Worked examples that stand before the edits."""

    texts: tuple[str, ...] = ()
    """Each as it is written, with what parts it from the next; the nearest to the query last."""
    left_out: int = 0
    """How many more there would be, were there room."""

    def __len__(self) -> int:
        return len(self.texts)

    def within(self, tokens: int) -> Demonstrations:
        """Return as many as ``tokens`` hold by estimate: the farthest are left out first."""
        kept, room = len(self.texts), tokens
        for number, text in enumerate(reversed(self.texts)):
            room -= estimated_tokens(text)
            if room < 0:
                kept = number
                break
        gone = len(self.texts) - kept
        return Demonstrations(self.texts[gone:], self.left_out + gone) if gone else self


NONE_SHOWN: Final = Demonstrations()


@dataclass(frozen=True, slots=True)
class Insertion:
    """Text to stand around what is asked; the asked text itself is never changed."""

    before: str = ""
    after: str = ""

    def behind(self, shown: Demonstrations) -> Insertion:
        """Return the same insertion with demonstrations in front of it."""
        return replace(self, before="".join((*shown.texts, self.before))) if shown.texts else self


class InContextMethod(ABC):
    """Writes edits into a prompt.  Pure: the same query and edits give the same insertion."""

    @classmethod
    def open(cls, encoder: Encoder, settings: InContextSettings) -> Self:
        """Make one for the encoder in use; most methods need neither encoder nor settings."""
        return cls()

    def demonstrations(
        self, vectors: Vectors, edits: Sequence[Sequence[Edit]]
    ) -> list[Demonstrations]:
        """Choose the examples that stand before the edits of each query; most methods show none.

        Asked only about queries that edits concern, for a whole batch at once.

        Args:
            vectors: the encodings of the queries that the router has made, float32 ``[n, dim]``.
            edits: for each query those that concern it, most probable first.

        """
        return [NONE_SHOWN] * len(edits)

    @abstractmethod
    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return what to put around ``query`` so that the model answers with ``edits`` applied.

        Demonstrations are put before it by whoever asked for them.

        Args:
            query: the last user turn, or the last block of a completion prompt.
            edits: those that concern the query, most probable first; at least one.
            surface: whether the text stands in a chat turn or in a running text.

        """


def estimated_tokens(text: str) -> int:
    """Estimate how many tokens a text is, rather too many: one per two bytes of UTF-8.

    Only the served model's tokenizer could tell, and it may be far away.  Large vocabularies spell
    English with a token per four to five bytes; the reference model's small one spells the made-up
    names of the shipped demonstrations with one per two and a half.
    """
    return -(-len(text.encode("utf-8", "replace")) // 2)
