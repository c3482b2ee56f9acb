"""The erasure guard at work: answers, whole or streamed, that leave without an erased fact."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from memedit.routing.events import Splitter, data_of, name_of, written
from memedit.routing.guard import SAFE, Guard, Rule
from memedit.routing.watch import Watch
from memedit.routing.wire.base import WireFormat

_TELLTALE: Final = frozenset({"logprobs", "top_logprobs", "token_ids"})
"""They spell tokens, those that were nearly chosen as well."""

Outcome = Literal["clear", "withheld"]


class GuardedAnswer(ABC):
    """An answer that is watched on its way, without any input or output of its own."""

    whole: bool
    """Whether nothing leaves before the end."""

    def __init__(self) -> None:
        self.outcome: Outcome = "clear"
        self.ended = False
        """Nothing more is read: what the upstream still says does not count."""

    @abstractmethod
    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the answer; return what may leave."""

    @abstractmethod
    def finish(self) -> bytes:
        """Take the end of the answer; return the rest of what may leave."""


class GuardedWhole(GuardedAnswer):
    """An answer in one piece; an untouched one leaves as the bytes that came."""

    whole = True

    def __init__(self, guard: Guard, wire: WireFormat) -> None:
        super().__init__()
        self._guard, self._wire = guard, wire
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """Keep the bytes."""
        self._parts.append(chunk)
        return b""

    def finish(self) -> bytes:
        """Return the answer, every choice that tells replaced by the safe sequence."""
        body = b"".join(self._parts)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            return self._unread(body)
        told: set[int] = set()
        for choice, text in self._wire.answers.spoken(answer):
            rule = self._guard.rule(choice)
            if choice not in told and rule is not None and rule.broken_by(text):
                told.add(choice)
        for choice in told:
            self._wire.answers.withhold(answer, choice, _safe(self._guard.rule(choice)))
            self.outcome = "withheld"
        changed = _scrubbed(answer)
        return json.dumps(answer).encode("ascii") if told or changed else body

    def _unread(self, body: bytes) -> bytes:
        """Look through what is no JSON object as through any text."""
        text = body.decode("utf-8", "replace")
        if not any(rule and rule.broken_by(text) for rule in self._guard.rules):
            return body
        self.outcome = "withheld"
        return self._wire.error(502, "withheld", "the answer told an erased fact and is withheld")


@dataclass(slots=True)
class _Held:
    raw: bytes
    value: Mapping[str, Any] | None
    needs: list[tuple[Watch, int]]
    """It leaves when so many characters of each of these texts may leave."""


class GuardedStream(GuardedAnswer):
    """A stream of events.  Whole events are held back, and leave as the bytes that came."""

    whole = False

    def __init__(self, guard: Guard, wire: WireFormat) -> None:
        super().__init__()
        self._guard = guard
        self._stream = wire.answers.stream()
        self._to_its_end = guard.to_its_end and wire.answers.many
        self._splitter = Splitter()
        self._watches: dict[tuple[int, str], Watch] = {}
        self._held: deque[_Held] = deque()
        self._muted: set[int] = set()

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes as they come, cut anywhere."""
        out: list[bytes] = []
        for raw in self._splitter.feed(chunk):
            self._event(raw, out)
            if self.ended:
                break
        return b"".join(out)

    def finish(self) -> bytes:
        """Close all texts; what only looked like a beginning leaves."""
        out: list[bytes] = []
        if not self.ended:
            rest = self._splitter.rest()
            if rest:
                self._event(rest, out)
        if not self.ended:
            self._close(None, {}, out)
        if not self.ended:
            self._release(out)
        return b"".join(out)

    def _event(self, raw: bytes, out: list[bytes]) -> None:
        data = data_of(raw)
        if data is None:
            out.append(raw)  # a comment: it keeps the connection alive, so it does not wait
            return
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self._plain(raw, data, out)
            return
        if _scrubbed(value):
            raw = written(value, name_of(raw))
        needs = self._read(value, out)
        if self.ended:
            return
        left = self._stream.without(value, self._muted) if self._muted else value
        if left is None:
            return
        if left is not value:
            raw = written(left, name_of(raw))
        self._held.append(_Held(raw, left, needs))
        for choice in self._stream.over(left):
            self._close(choice, value, out)
            if self.ended:
                return
        self._release(out)

    def _read(self, value: dict[str, Any], out: list[bytes]) -> list[tuple[Watch, int]]:
        needs = []
        for said in self._stream.said(value):
            rule = self._guard.rule(said.choice)
            if rule is None or said.choice in self._muted:
                continue
            if said.kind is None:
                if rule.broken_by(said.text):
                    self._withhold(said.choice, value, out)
            else:
                key = said.choice, said.kind
                watch = self._watches.setdefault(key, rule.watch())
                watch.feed(said.text)
                needs.append((watch, watch.length))
                if watch.found:
                    self._withhold(said.choice, value, out)
            if self.ended:
                break
        return [(watch, end) for watch, end in needs if not watch.found]

    def _plain(self, raw: bytes, data: str, out: list[bytes]) -> None:
        """Pass what is no JSON object: the mark of the end, or what nobody knows."""
        if data.strip() == "[DONE]":
            self._close(None, {}, out)
        elif any(rule and rule.broken_by(data) for rule in self._guard.rules):
            return
        if not self.ended:
            self._held.append(_Held(raw, None, []))
            self._release(out)

    def _close(self, choice: int | None, value: Mapping[str, Any], out: list[bytes]) -> None:
        """Take the end of a choice's texts, or of all."""
        for (number, _), watch in list(self._watches.items()):
            if choice in (None, number) and number not in self._muted:
                watch.close()
                if watch.found:
                    self._withhold(number, self._last(value), out)
                    if self.ended:
                        return

    def _last(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return value or next((one.value for one in self._held if one.value), {})

    def _withhold(self, choice: int, value: Mapping[str, Any], out: list[bytes]) -> None:
        """End a choice, or with it the stream, in the place of what was held back of it."""
        rule = self._guard.rule(choice)
        self.outcome = "withheld"
        self._muted.add(choice)
        kept: deque[_Held] = deque()
        for one in self._held if self._to_its_end else ():
            left = self._stream.without(one.value, self._muted) if one.value else one.value
            if left is one.value:
                kept.append(one)
            elif left is not None:
                kept.append(_Held(written(left, name_of(one.raw)), left, one.needs))
        self._held = kept
        out.append(b": memedit: withheld, the answer told an erased fact\n\n")
        out.append(self._stream.withheld(value, choice, _safe(rule)))
        if not self._to_its_end:
            out.append(self._stream.end())
            self.ended = True

    def _release(self, out: list[bytes]) -> None:
        while self._held and all(watch.clear >= end for watch, end in self._held[0].needs):
            one = self._held.popleft()
            if one.value is not None:
                self._stream.see(one.value)
            out.append(one.raw)


def watching(guard: Guard, wire: WireFormat, content_type: str) -> GuardedAnswer:
    """Begin to watch an answer; its content type tells whether it is streamed."""
    streamed = content_type.split(";")[0].strip().lower() == "text/event-stream"
    return GuardedStream(guard, wire) if streamed else GuardedWhole(guard, wire)


def _safe(rule: Rule | None) -> str:
    return SAFE if rule is None else rule.safe


def _scrubbed(value: object) -> bool:
    """Empty the fields that spell tokens, wherever they stand; tell whether there were any."""
    changed = False
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _TELLTALE and inner:
                value[name] = [] if isinstance(inner, list) else None
                changed = True
            else:
                changed = _scrubbed(inner) or changed
    elif isinstance(value, list):
        for inner in value:
            changed = _scrubbed(inner) or changed
    return changed
