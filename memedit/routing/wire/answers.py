"""What a wire format's answers look like: where the model speaks, and how to end it early."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

_NOT_SPOKEN = frozenset(
    {"type", "id", "call_id", "item_id", "role", "status", "model", "object", "finish_reason"}
    | {"stop_reason", "stop_sequence", "signature", "encrypted_content"}
)


@dataclass(frozen=True, slots=True)
class Said:
    """A text of the model's in one event of a stream."""

    choice: int
    kind: str | None
    """Texts of one kind go on where the one before ended; one without a kind stands for itself."""
    text: str


class AnswerStream(ABC):
    """One streamed answer on its way.  Holds what the client has seen of it."""

    @abstractmethod
    def said(self, event: Mapping[str, Any]) -> Iterator[Said]:
        """Yield every text of the model's in an event."""

    @abstractmethod
    def over(self, event: Mapping[str, Any]) -> Collection[int]:
        """Return the choices that say nothing more after this event."""

    @abstractmethod
    def see(self, event: Mapping[str, Any]) -> None:
        """Take note of an event that the client gets."""

    @abstractmethod
    def withheld(self, event: Mapping[str, Any], choice: int, safe: str) -> bytes:
        """Write the events that end a choice with ``safe`` in the place of what is left of it.

        Args:
            event: the one that is not sent any more.
            choice: which one is ended.
            safe: what is said instead.

        """

    @abstractmethod
    def end(self) -> bytes:
        """Write what stands at the end of a stream, behind the choices."""

    def without(
        self, event: Mapping[str, Any], choices: Collection[int]
    ) -> Mapping[str, Any] | None:
        """Return the event without the choices that are ended; ``None``: nothing is left of it.

        Asked for only where an answer may hold many.
        """
        return None


class Answers(ABC):
    """The part of a wire format that knows its answers.  Holds no state."""

    many: ClassVar[bool] = False
    """Whether an answer may hold several choices."""

    @abstractmethod
    def spoken(self, answer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        """Yield every text of the model's in a whole answer, with the choice it stands in."""

    @abstractmethod
    def withhold(self, answer: dict[str, Any], choice: int, safe: str) -> None:
        """Put ``safe`` into the place of everything that a choice says; changes ``answer``."""

    @abstractmethod
    def stream(self) -> AnswerStream:
        """Begin to follow a streamed answer."""


def texts_in(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the strings below ``value`` that may be the model's words, with the keys to them.

    Positions in lists are no part of a path: what goes on in the next block goes on.
    """
    if isinstance(value, str):
        if value:
            yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _NOT_SPOKEN:
                yield from texts_in(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner, path)


def spaced(before: str, safe: str) -> str:
    """Return ``safe`` as it follows ``before``."""
    return f" {safe}" if before and not before[-1].isspace() else safe
