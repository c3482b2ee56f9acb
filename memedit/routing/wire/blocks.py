"""Answers of the Anthropic messages API: content blocks, one after another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from memedit.routing.events import written
from memedit.routing.wire.answers import Answers, AnswerStream, Said, spaced, texts_in


class BlockAnswers(Answers):
    """An answer is one message; it is choice 0."""

    def spoken(self, answer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        """Yield the texts of all blocks."""
        for _, text in texts_in(answer.get("content")):
            yield 0, text

    def withhold(self, answer: dict[str, Any], choice: int, safe: str) -> None:
        """Leave one text block."""
        answer["content"] = [{"type": "text", "text": safe}]
        answer["stop_reason"], answer["stop_sequence"] = "end_turn", None

    def stream(self) -> AnswerStream:
        """Follow events."""
        return _BlockStream()


class _BlockStream(AnswerStream):
    def __init__(self) -> None:
        self._open: tuple[int, str] | None = None  # number and type of the block being written
        self._next = 0
        self._shown = ""
        self._usage: Any = None

    def said(self, event: Mapping[str, Any]) -> Iterator[Said]:
        for part in ("delta", "content_block", "message"):
            value = event.get(part)
            if part == "message" and isinstance(value, Mapping):
                value = value.get("content")
            for path, text in texts_in(value):
                # a block may begin with text: that and the deltas are one text
                yield Said(0, path, text)

    def over(self, event: Mapping[str, Any]) -> Collection[int]:
        return (0,) if event.get("type") in ("message_delta", "message_stop") else ()

    def see(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), Mapping):
            self._usage = event["message"].get("usage")
        elif kind == "content_block_start":
            number = event.get("index")
            number = number if isinstance(number, int) else self._next
            block = event.get("content_block")
            self._open = number, str(block.get("type")) if isinstance(block, Mapping) else ""
            self._next, self._shown = number + 1, ""
        elif kind == "content_block_stop":
            self._open = None
        elif kind == "content_block_delta" and isinstance(event.get("delta"), Mapping):
            text = event["delta"].get("text")
            self._shown = text if isinstance(text, str) and text else self._shown

    def withheld(self, event: Mapping[str, Any], choice: int, safe: str) -> bytes:
        out = []
        if self._open is not None and self._open[1] != "text":
            out.append({"type": "content_block_stop", "index": self._open[0]})
            self._open = None
        if self._open is None:
            block = {"type": "text", "text": ""}
            self._open, self._shown = (self._next, "text"), ""
            out.append({"type": "content_block_start", "index": self._next, "content_block": block})
        number = self._open[0]
        delta = {"type": "text_delta", "text": spaced(self._shown, safe)}
        out.append({"type": "content_block_delta", "index": number, "delta": delta})
        out.append({"type": "content_block_stop", "index": number})
        return b"".join(written(one, str(one["type"])) for one in out)

    def end(self) -> bytes:
        usage = self._usage if isinstance(self._usage, Mapping) else {}
        stop = {"stop_reason": "end_turn", "stop_sequence": None}
        # how much the model had written by then is not known
        counted = {"output_tokens": usage.get("output_tokens", 0)}
        delta = {"type": "message_delta", "delta": stop, "usage": counted}
        return written(delta, "message_delta") + written({"type": "message_stop"}, "message_stop")
