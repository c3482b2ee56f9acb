"""Stop strings: found across the borders of tokens, and never half shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Released:
    """What may be shown now, and the stop string that ended the text, if one did."""

    text: str
    stop: str | None = None


class StopMatcher:
    """Watches one text for stop strings while it grows.

    >>> matcher = StopMatcher(["END"])
    >>> matcher.push("the E").text, matcher.push("agle EN").text
    ('the ', 'Eagle ')
    >>> matcher.push("D of it")
    Released(text='', stop='END')
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._held = ""

    def push(self, text: str) -> Released:
        """Take more text; return what can no longer be part of a stop string."""
        held = self._held + text
        found = [(at, stop) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            at, stop = min(found, key=lambda match: (match[0], -len(match[1])))
            self._held = ""
            return Released(held[: at + len(stop)] if self._include else held[:at], stop)
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        cut = len(held) - keep
        self._held = held[cut:]
        return Released(held[:cut])

    def rest(self) -> str:
        """Return what was held back; the text has ended without a stop string."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Return how much of the end of ``text`` is a beginning of ``stop``, but not all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
