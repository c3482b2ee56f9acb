"""Answers of the responses API: output items with their parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from memedit.routing.events import written
from memedit.routing.wire.answers import Answers, AnswerStream, Said, spaced, texts_in

_OVER = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ItemAnswers(Answers):
    """An answer is one response; it is choice 0."""

    def spoken(self, answer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        """Yield the texts of all items."""
        for name in ("output", "output_text"):
            for _, text in texts_in(answer.get(name)):
                yield 0, text

    def withhold(self, answer: dict[str, Any], choice: int, safe: str) -> None:
        """Leave one message."""
        answer["output"] = [_message(f"msg_{answer.get('id', '')}", safe)]
        answer["status"], answer["incomplete_details"] = "completed", None
        if "output_text" in answer:
            answer["output_text"] = safe

    def stream(self) -> AnswerStream:
        """Follow events."""
        return _ItemStream()


class _ItemStream(AnswerStream):
    def __init__(self) -> None:
        self._response: dict[str, Any] = {"object": "response"}
        self._done: list[Any] = []
        self._open: str | None = None  # the id of the message whose text is being written
        self._place = (0, 0)  # output_index and content_index of it
        self._next = 0
        self._text = ""
        self._number = -1

    def said(self, event: Mapping[str, Any]) -> Iterator[Said]:
        kind = str(event.get("type"))
        for path, text in texts_in(event.get("delta")):
            yield Said(0, kind + path, text)
        # what has been said in pieces is said once more as a whole, and in more than one place
        for name in ("item", "part", "text", "arguments", "refusal", "response"):
            value = event.get(name)
            if name == "response" and isinstance(value, Mapping):
                value = value.get("output")
            for _, text in texts_in(value):
                yield Said(0, None, text)

    def over(self, event: Mapping[str, Any]) -> Collection[int]:
        return (0,) if event.get("type") in _OVER else ()

    def see(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if isinstance(event.get("sequence_number"), int):
            self._number = event["sequence_number"]
        if isinstance(event.get("response"), Mapping):
            self._response = dict(event["response"])
        if kind == "response.output_item.added":
            item, place = event.get("item"), event.get("output_index")
            self._next = (place if isinstance(place, int) else self._next) + 1
            self._open, self._text = None, ""
            if isinstance(item, Mapping) and item.get("type") == "message":
                self._place = self._next - 1, 0
        elif kind == "response.content_part.added":
            self._open = str(event.get("item_id"))
            at = event.get("content_index")
            self._place, self._text = (self._place[0], at if isinstance(at, int) else 0), ""
        elif kind == "response.output_text.delta":
            self._text += str(event.get("delta", ""))
        elif kind == "response.output_item.done":
            self._done.append(event.get("item"))
            self._open = None

    def withheld(self, event: Mapping[str, Any], choice: int, safe: str) -> bytes:
        out: list[dict[str, Any]] = []
        if self._open is None:
            self._open, self._place, self._text = "msg_withheld", (self._next, 0), ""
            item = {**_message(self._open, ""), "status": "in_progress", "content": []}
            out += [
                {"type": "response.output_item.added", "output_index": self._next, "item": item},
                {"type": "response.content_part.added", **self._at(), "part": _part("")},
            ]
        said = spaced(self._text, safe)
        whole = self._text + said
        item = _message(self._open, whole)
        out += [
            {"type": "response.output_text.delta", **self._at(), "delta": said, "logprobs": []},
            {"type": "response.output_text.done", **self._at(), "text": whole, "logprobs": []},
            {"type": "response.content_part.done", **self._at(), "part": _part(whole)},
            {"type": "response.output_item.done", "output_index": self._place[0], "item": item},
        ]
        self._done.append(item)
        return b"".join(self._written(one) for one in out)

    def end(self) -> bytes:
        whole = {**self._response, "status": "completed", "output": self._done}
        return self._written({"type": "response.completed", "response": whole})

    def _at(self) -> dict[str, Any]:
        place, part = self._place
        return {"item_id": self._open, "output_index": place, "content_index": part}

    def _written(self, event: dict[str, Any]) -> bytes:
        self._number += 1
        return written({**event, "sequence_number": self._number}, str(event["type"]))


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(name: str, text: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [_part(text)],
    }
