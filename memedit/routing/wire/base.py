"""What a wire format promises, and the ways in which all of them are alike."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from memedit.routing.wire.answers import Answers
from memedit.routing.wire.document import Path
from memedit.types import QueryText, Surface


class NotRead(Exception):
    """The body holds nothing that can be routed; it passes as it is.  ``note`` says why."""

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


@dataclass(frozen=True, slots=True)
class TextPlace:
    """Where the asked text stands: a string of the body, from ``start`` (characters) on."""

    path: Path
    start: int = 0


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """A prompt of token ids: an array of the body."""

    path: Path
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """One prompt whose text the body holds."""

    query: QueryText
    place: TextPlace


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """One prompt whose text only the upstream's tokenizer can tell."""

    place: TokenPlace


Prompt = TextPrompt | TokenPrompt


class WireFormat(ABC):
    """One API: reads what a body asks, knows its answers, writes its errors.  Holds no state."""

    name: ClassVar[str]
    path: ClassVar[str]
    surface: ClassVar[Surface]
    answers: ClassVar[Answers]

    @abstractmethod
    def read(self, body: Mapping[str, Any]) -> tuple[Prompt, ...]:
        """Find the prompts in a parsed body, in the order of its answers; at least one.

        Raises:
            NotRead: the body is not what the API takes, or asks nothing in words.

        """

    def error(self, status: int, code: str, message: str) -> bytes:
        """Render an error of our own as the API's JSON body."""
        return compact_json(self._error(status, code, message))

    def error_event(self, status: int, code: str, message: str) -> bytes:
        """Render an error of our own as a server-sent event, for a stream that has begun."""
        return b"data: " + self.error(status, code, message) + b"\n\n"

    def _error(self, status: int, code: str, message: str) -> dict[str, Any]:
        kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}


_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


def compact_json(value: object) -> bytes:
    """Write JSON as ASCII bytes without white space."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def text_parts(content: object, types: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield the texts in a turn's content with their paths below it; blank ones are left out.

    Args:
        content: a string, or a list of parts: strings, or objects with ``type`` and ``text``.
        types: the part types whose ``text`` is the user's own words.

    """
    if isinstance(content, str):
        if content.strip():
            yield (), content
    elif isinstance(content, list):
        for number, part in enumerate(content):
            if isinstance(part, str):
                if part.strip():
                    yield (number,), part
            elif isinstance(part, Mapping) and part.get("type", "text") in types:
                text = part.get("text")
                if isinstance(text, str) and text.strip():
                    yield (number, "text"), text


def last_user_turn(turns: object, under: Path, types: tuple[str, ...]) -> tuple[Prompt, ...]:
    """Read a conversation: the last user turn that says something is the query.

    Tool results, images and whatever the assistant said after it do not move the query: in a tool
    loop the same turn is asked over and over, and gets the same insertion at the same place, so
    that the server's prefix cache holds from one round to the next.  Of several text parts the
    last is the place, all are the query.

    Raises:
        NotRead: ``turns`` is no list of objects, or no user turn holds any text.

    """
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise NotRead("unknown-shape")
    said: list[tuple[Path, str]] = []
    for number, turn in enumerate(turns):
        if turn.get("role") != "user":
            continue
        parts = list(text_parts(turn.get("content"), types))
        if parts:
            where = (*under, number, "content", *parts[-1][0])
            said.append((where, "\n".join(text for _, text in parts)))
    if not said:
        raise NotRead("no-question")
    where, text = said[-1]
    query = QueryText(text, context=tuple(earlier for _, earlier in said[:-1]))
    return (TextPrompt(query, TextPlace(where)),)
