"""The cheapest test that can say "no edit concerns this": not even a part of a name is there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from memedit.indexes.names import PART, SMALL_WORDS, asked_forms, stored_forms, words_of

_LETTERS: Final = {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"}
_MORE: Final = {"\u0131": "i", "\u0259": "a", "\u0127": "h", "\u014b": "n", "\u2044": ""}
_SPELLED: Final = str.maketrans(_LETTERS | _MORE)
"""Letters that only some languages have (dotless i, schwa, ...), as others write them."""


class NameGate:
    """Tells which texts cannot name any key: by words alone, in one table access per word.

    A text passes when at least ``PART`` of the telling words of one name stand in it, in any
    order, give or take a letter at a word's end.  So whatever ``memedit.scope.subjects`` calls a
    mention passes, and whatever ``NameIndex`` finds; more may.

    It speaks only for texts in Latin letters, and only while every key can be told by them: a key
    without such a name holds the gate open for all texts.  Not safe for concurrent use: the owner
    holds a lock.
    """

    def __init__(self) -> None:
        self._alone: dict[str, int] = {}  # words that let a text pass by themselves, with counts
        self._joint: dict[str, dict[tuple[int, str], None]] = {}  # word: (form, its word)
        self._needed: dict[int, int] = {}  # form: how many of its words have to stand there
        self._words: dict[int, tuple[str, ...]] = {}
        self._forms: dict[int, list[int]] = {}  # key: its forms
        self._texts: dict[tuple[str, ...], int] = {}  # whole texts that pass, with counts
        self._texts_of: dict[int, tuple[tuple[str, ...], ...]] = {}
        self._open: set[int] = set()
        self._next = 0

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._forms)

    @property
    def held_open(self) -> int:
        """The number of keys that hold the gate open."""
        return len(self._open)

    def add(self, key: int, names: Iterable[str], texts: Iterable[str] = ()) -> None:
        """Store a key under its names; without one in Latin letters it holds the gate open.

        Args:
            key: not stored yet.
            names: as ``names_of`` returns them; none at all holds the gate open too.
            texts: what passes as it stands, though no name is in it.

        """
        self._forms[key] = []
        self._texts_of[key] = tuple(dict.fromkeys(words_of(text).words for text in texts))
        for whole in self._texts_of[key]:
            self._texts[whole] = self._texts.get(whole, 0) + 1
        readable = False
        for words in dict.fromkeys(form for name in names for form in _spellings(name)):
            readable = readable or all(word.isascii() for word in words)
            self._forms[key].append(self._insert(words))
        if not readable:
            self._open.add(key)

    def _insert(self, words: tuple[str, ...]) -> int:
        form, self._next = self._next, self._next + 1
        telling = [word for word in words if word not in SMALL_WORDS]
        # a name of small words alone is no mention in part, and one may say a word twice
        kept = tuple(dict.fromkeys(telling or words))
        needed = min(math.ceil(PART * len(telling)), len(kept)) if telling else len(kept)
        self._needed[form], self._words[form] = needed, kept
        for word in kept:
            for variant in stored_forms(word):
                if needed == 1:
                    self._alone[variant] = self._alone.get(variant, 0) + 1
                else:
                    self._joint.setdefault(variant, {})[form, word] = None
        return form

    def remove(self, key: int) -> None:
        """Forget a key; one that is not stored is no error."""
        self._open.discard(key)
        for whole in self._texts_of.pop(key, ()):
            self._texts[whole] -= 1
            if not self._texts[whole]:
                del self._texts[whole]
        for form in self._forms.pop(key, ()):
            needed = self._needed.pop(form)
            for word in self._words.pop(form):
                for variant in stored_forms(word):
                    if needed == 1:
                        self._alone[variant] -= 1
                        if not self._alone[variant]:
                            del self._alone[variant]
                    else:
                        del self._joint[variant][form, word]
                        if not self._joint[variant]:
                            del self._joint[variant]

    def passes(self, text: str) -> bool:
        """Tell whether the text may name a key; False only where it cannot."""
        if self._open:
            return True
        words = words_of(text).words
        if words in self._texts or not all(word.isascii() for word in words):
            return True
        found: dict[int, set[str]] = {}
        for word in dict.fromkeys(words):
            for variant in asked_forms(word):
                if variant in self._alone:
                    return True
                for form, stored in self._joint.get(variant, ()):
                    hits = found.setdefault(form, set())
                    hits.add(stored)
                    if len(hits) >= self._needed[form]:
                        return True
        return False


def _spellings(name: str) -> Sequence[tuple[str, ...]]:
    """Return a name's words, and how they are spelled without letters that only some have."""
    words = words_of(name).words
    if not words:
        return ()
    return (words, tuple(word.translate(_SPELLED) for word in words))
