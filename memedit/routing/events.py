"""Server-sent events, cut out of a stream of bytes and read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_END = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_LINE = re.compile(r"\r\n|\n|\r")


class Splitter:
    """Cuts a stream into its events; their bytes, joined, are those that came."""

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that are whole now, each with the blank line that ends it."""
        self._buffer += chunk
        events, start = [], 0
        for end in _END.finditer(self._buffer, self._searched):
            events.append(self._buffer[start : end.end()])
            start = end.end()
        self._buffer = self._buffer[start:]
        self._searched = max(0, len(self._buffer) - 3)  # an end may be cut in two
        return events

    def rest(self) -> bytes:
        """Return what stands behind the last whole event."""
        rest, self._buffer, self._searched = self._buffer, b"", 0
        return rest


def data_of(event: bytes) -> str | None:
    """Return an event's data; ``None`` where it is only a comment, a name or blank."""
    lines = _LINE.split(event.decode("utf-8", "replace"))
    data = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
    return "\n".join(data) if data else None


def name_of(event: bytes) -> str | None:
    """Return an event's name, where it has one."""
    for line in _LINE.split(event.decode("utf-8", "replace")):
        if line.startswith("event:"):
            return line[6:].strip()
    return None


def written(value: Mapping[str, Any], name: str | None = None) -> bytes:
    """Write an event."""
    head = b"" if name is None else f"event: {name}\n".encode()
    data = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return head + b"data: " + data + b"\n\n"
