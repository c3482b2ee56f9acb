"""A live edit as it is searched for: its texts, in the order of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memedit.memory.inverse import inverse_of
from memedit.memory.rows import StoredEdit
from memedit.memory.texts import INVERSE
from memedit.types import Edit

POSITION_BITS = 8
"""At most 164 texts per edit: prompt, statement, 64 rephrases, 64 aliases, 2 inverse ones, 32
questions."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A live edit, its texts, and which of them ask what."""

    edit: Edit
    texts: tuple[str, ...]
    """Its own, and behind them those that were generated for it."""
    own: int
    """The number of its own."""
    turned: Edit | None = None
    """What it says of its target, where that is known."""
    turned_from: int = 0
    """The position of the first text that asks so; those up to ``own`` do."""

    def asked_at(self) -> Sequence[int]:
        """Return the positions of the texts that ask for its target."""
        return [*range(self.turned_from), *range(self.own, len(self.texts))]


def entry_of(stored: StoredEdit) -> Entry:
    """Make the entry of a version with its texts; an older memory may have stored no inverse."""
    texts = tuple(text.text for text in stored.texts)
    kinds = [text.kind for text in stored.texts]
    edit, request = stored.edit, inverse_of(stored.edit.request)
    if INVERSE not in kinds or request is None:
        return Entry(edit, texts, len(texts), turned_from=len(texts))
    turned = edit.model_copy(update={"request": request, "statement": request.plain_statement()})
    return Entry(edit, texts, len(texts), turned, kinds.index(INVERSE))


def keys_of(seq: int, n_texts: int) -> range:
    """Return the keys of an edit's vectors, in the order of its texts."""
    first = seq << POSITION_BITS
    return range(first, first + n_texts)
