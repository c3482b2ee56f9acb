"""Watching a text that comes in pieces for strings that must not be in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from memedit.routing.folding import Element, Kind, elements, is_gap

LONG: Final = 8
"""From so many letters and digits on, a string is found inside of words too; a shorter one only as
a word of its own, or ``Rome`` would be found in ``chromed``."""
_REACH: Final = 4_096
"""Characters before a text that are read for the beginning of a string, at most."""
_GROUPING: Final = frozenset(",.'\u2019_\u00a0\u2009\u202f")
"""One of these between two digits leaves them one number."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Strings, each as the letters and digits that a reader sees in it."""

    patterns: tuple[tuple[Element, ...], ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Forbidden:
        """Take strings; one without any letter or digit cannot be watched for and is left out."""
        found = (tuple(one for c in text for one in elements(c)) for text in texts)
        return cls(tuple(dict.fromkeys(pattern for pattern in found if pattern)))

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def within(self, text: str, behind: str = "") -> bool:
        """Tell whether a whole text holds one of the strings, or ends one that ``behind`` begins.

        Args:
            text: what is looked through.
            behind: what stands right before it; what that holds by itself does not count.

        """
        watch = Watch(self, behind)
        watch.feed(text)
        watch.close()
        return watch.found


@dataclass(frozen=True, slots=True)
class _Partial:
    """The first ``length`` elements of a string, seen from character ``start`` on."""

    pattern: tuple[Element, ...]
    length: int
    start: int


class Watch:
    """Reads one text piece by piece and says how much of it may leave.

    Found is a forbidden string in any case, with any accents, look-alikes and compatibility forms,
    and with anything that is no letter or digit, or nothing, between its letters and digits: digits
    grouped in another way, letters spaced out, line breaks, markup.

    Args:
        forbidden: what is looked for.
        behind: what the text continues, such as a prompt that ends in the middle of a word; what
            begins there and ends in the text is found, what ends there is not.

    """

    def __init__(self, forbidden: Forbidden, behind: str = "") -> None:
        self._forbidden = forbidden
        self._partial: list[_Partial] = []
        self._ended: list[_Partial] = []  # whole, but what follows may make another word of it
        self._last: Element | None = None
        self._gap = ""
        self.length = 0
        """Characters fed."""
        self.clear = 0
        """Characters that may leave: no forbidden string begins in them that is not ruled out.
        What is held back has at most as many letters and digits as the longest forbidden string."""
        self.found = False
        """Whether a forbidden string has been seen; ``clear`` is then where it begins."""
        self._go_on_from(behind[-_REACH:])

    def feed(self, text: str) -> None:
        """Read on; nothing more is read once something was found."""
        for character in text:
            if self.found:
                return
            read = elements(character)
            for one in read:
                self._step(one)
            if not read and is_gap(character):
                self._gap += character if len(self._gap) < 2 else ""
            self.length += 1
        if not self.found:
            self.clear = self._held_from(self.length)

    def _go_on_from(self, behind: str) -> None:
        for character in behind:
            self.feed(character)
            self.found = False
        self._ended.clear()
        self._partial = [replace(one, start=0) for one in self._partial]
        self.length = self.clear = 0

    def close(self) -> None:
        """Take the end of the text: what only looked like a beginning may leave."""
        if self.found:
            return
        if self._ended:
            self._find(self._ended)
            return
        self._partial.clear()
        self.clear = self.length

    def _step(self, element: Element) -> None:
        joined = self._joined(element)
        self._last, self._gap = element, ""
        if self._ended and not joined:
            self._find(self._ended)
            return
        self._ended.clear()
        begun = [
            _Partial(pattern, 0, self.length)
            for pattern in self._forbidden.patterns
            if not joined or len(pattern) >= LONG
        ]
        going, whole = [], []
        for one in (*self._partial, *begun):
            if not one.pattern[one.length].reads_as(element):
                continue
            longer = _Partial(one.pattern, one.length + 1, one.start)
            if longer.length < len(one.pattern):
                going.append(longer)
            elif longer.length >= LONG or element.kind is Kind.ALONE:
                whole.append(longer)
            else:
                self._ended.append(longer)
        self._partial = going
        if whole:
            self._find(whole)

    def _joined(self, element: Element) -> bool:
        """Tell whether the element goes on with the word or number of the one before it."""
        last = self._last
        if last is None or last.kind is not element.kind or element.kind is Kind.ALONE:
            return False
        return not self._gap or (
            element.kind is Kind.DIGIT and len(self._gap) == 1 and self._gap in _GROUPING
        )

    def _find(self, found: list[_Partial]) -> None:
        self.found = True
        self.clear = self._held_from(min(one.start for one in found))

    def _held_from(self, otherwise: int) -> int:
        return min([otherwise, *(one.start for one in (*self._partial, *self._ended))])
