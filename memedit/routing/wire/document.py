"""A JSON body that is changed by splicing its very bytes.

Nothing is serialised again: numbers, escapes, key order, duplicate keys and white space all stay
as the client wrote them, and taking the insertions out again gives back the original bytes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

Path = tuple[str | int, ...]
"""Keys and positions that lead from the root of a body to a value in it."""

_SPACE = re.compile(r"[ \t\n\r]*")
# one decoded character each, as json reads it: a surrogate pair counts as one
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u.{4}|\\.|[^\\]", re.DOTALL
)


class Document:
    """One body: parsed to be read, kept as text to be changed."""

    def __init__(self, text: str, value: dict[str, Any], marked: bool) -> None:
        self.value = value
        """The parsed body; of duplicate keys the last one counts, as for the servers behind."""
        self._text = text
        self._marked = marked
        self._decoder = json.JSONDecoder()
        self._spans: dict[int, dict[str | int, tuple[int, int]]] = {}
        self._splices: list[tuple[int, int, str]] = []

    @classmethod
    def parse(cls, body: bytes) -> Document:
        """Read a body.

        Raises:
            ValueError: it is no JSON object in UTF-8, or too deeply nested to be read.

        """
        marked = body.startswith(codecs.BOM_UTF8)
        text = body.decode("utf-8-sig" if marked else "utf-8")
        try:
            value = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(value, dict):
            raise ValueError(f"a JSON {type(value).__name__}, expected an object")
        return cls(text, value, marked)

    def insert_text(self, path: Path, at: int | None, text: str) -> None:
        """Insert ``text`` into a string, before its character ``at`` or at its end."""
        start, end = self._locate(path)
        literal = self._text[start + 1 : end - 1]
        if at is None:
            at = len(literal)
        elif at and "\\" in literal:
            *_, last = islice(_CHARACTER.finditer(literal), at)
            at = last.end()
        # ASCII escapes: also a lone surrogate out of a stored edit can be sent
        place = start + 1 + at
        self._splices.append((place, place, json.dumps(text)[1:-1]))

    def insert_ids(self, path: Path, at: int | None, ids: Sequence[int]) -> None:
        """Insert ``ids`` into a non-empty array of ids, before its item ``at`` or at its end."""
        items = self._children(self._locate(path)[0])
        if at is None:
            place, text = items[len(items) - 1][1], "".join(f", {number}" for number in ids)
        else:
            place, text = items[at][0], "".join(f"{number}, " for number in ids)
        self._splices.append((place, place, text))

    def set_text(self, name: str, text: str) -> None:
        """Put ``text`` in the place of a value of the body itself; one that is absent comes first.

        Of duplicate keys the last one's value is replaced: the one that counts.
        """
        opened = self._skip(0)
        spans = self._children(opened)
        if name in spans:
            self._splices.append((*spans[name], json.dumps(text)))
        else:
            comma = ", " if spans else ""
            at = opened + 1
            self._splices.append((at, at, f"{json.dumps(name)}: {json.dumps(text)}{comma}"))

    def to_bytes(self) -> bytes:
        """Return the body with all changes made."""
        pieces: list[str] = []
        done = 0
        for start, end, text in sorted(self._splices, key=lambda splice: splice[0]):
            pieces += (self._text[done:start], text)
            done = end
        pieces.append(self._text[done:])
        return (codecs.BOM_UTF8 if self._marked else b"") + "".join(pieces).encode()

    def _locate(self, path: Path) -> tuple[int, int]:
        """Return where in the text the value at ``path`` begins and ends."""
        start, end = self._skip(0), len(self._text)
        for step in path:
            start, end = self._children(start)[step]
        return start, end

    def _children(self, opened: int) -> dict[str | int, tuple[int, int]]:
        """Map the keys or positions of the container that begins at ``opened`` to its values.

        The text is known to be valid JSON; each container is walked once.
        """
        if opened in self._spans:
            return self._spans[opened]
        text = self._text
        spans: dict[str | int, tuple[int, int]] = {}
        keyed = text[opened] == "{"
        at = self._skip(opened + 1)
        while text[at] not in "]}":
            name: str | int = len(spans)
            if keyed:
                name, at = self._decoder.raw_decode(text, at)
                at = self._skip(self._skip(at) + 1)
            _, end = self._decoder.raw_decode(text, at)
            spans[name] = (at, end)
            at = self._skip(end)
            if text[at] == ",":
                at = self._skip(at + 1)
        self._spans[opened] = spans
        return spans

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at
