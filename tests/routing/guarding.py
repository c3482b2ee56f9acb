"""Answers of every wire format, whole and streamed, that say a given text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from memedit.routing import wire_for
from memedit.routing.guard import Guard, Rule
from memedit.routing.guarded import GuardedAnswer
from memedit.routing.watch import Forbidden
from memedit.routing.wire.base import WireFormat

Json = dict[str, Any]
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


def guard(*forbidden: str, safe: str = "I don't know.", **fields: Any) -> Guard:
    return Guard((Rule(Forbidden.of(forbidden), safe),), **fields)


def whole(wire: str, text: str) -> Json:
    """Return an answer in one piece."""
    if wire == "chat":
        message = {"role": "assistant", "content": text}
        return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    if wire == "completions":
        return {"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}
    if wire == "responses":
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"id": "m", "type": "message", "role": "assistant", "content": [part]}
        return {"id": "r", "object": "response", "status": "completed", "output": [item]}
    block = {"type": "text", "text": text}
    return {"id": "m", "type": "message", "content": [block], "stop_reason": "end_turn"}


def streamed(wire: str, pieces: Sequence[str]) -> list[bytes]:
    """Return the events that say the pieces, one after another."""
    if wire in ("chat", "completions"):
        return _choices(wire, pieces)
    events = _responses(pieces) if wire == "responses" else _messages(pieces)
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events]


def _choices(wire: str, pieces: Sequence[str]) -> list[bytes]:
    def chunk(said: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, **said, "finish_reason": reason}
        return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode()

    if wire == "chat":
        said = [{"delta": {"role": "assistant", "content": ""}}]
        said += [{"delta": {"content": piece}} for piece in pieces]
        events = [*map(chunk, said), chunk({"delta": {}}, "stop")]
    else:
        events = [*(chunk({"text": piece}) for piece in pieces), chunk({"text": ""}, "stop")]
    return [event + b"\n\n" for event in (*events, b"data: [DONE]")]


def _responses(pieces: Sequence[str]) -> list[Json]:
    text = "".join(pieces)
    answer = whole("responses", text)
    at = {"item_id": "m", "output_index": 0, "content_index": 0}
    [item] = answer["output"]
    begun = {**answer, "status": "in_progress", "output": []}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at, "part": {"type": "output_text", "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": piece} for piece in pieces),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.content_part.done", **at, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": answer},
    ]
    return [{**one, "sequence_number": number} for number, one in enumerate(events)]


def _messages(pieces: Sequence[str]) -> list[Json]:
    start = {"id": "m", "type": "message", "content": [], "usage": {"output_tokens": 1}}
    delta = "content_block_delta"
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": delta, "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
        {"type": "message_stop"},
    ]


def read(stream: bytes) -> list[Json]:
    """Return the JSON data of a stream's events."""
    found = [line[5:].strip() for line in stream.split(b"\n") if line.startswith(b"data:")]
    return [json.loads(data) for data in found if data != b"[DONE]"]


def shown(wire: str, events: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that a client puts together of a stream."""
    text = ""
    for event in events:
        if wire in ("chat", "completions"):
            for choice in event["choices"]:
                text += (
                    choice["text"] if wire == "completions" else choice["delta"].get("content", "")
                )
        elif event["type"] == "response.output_text.delta":
            text += event["delta"]
        elif event["type"] == "content_block_delta":
            text += event["delta"]["text"]
    return text


def format_of(name: str) -> WireFormat:
    wire = wire_for("POST", PATHS[name])
    assert wire is not None
    return wire


def through(answer: GuardedAnswer, *chunks: bytes) -> bytes:
    out = []
    for chunk in chunks:
        if not answer.ended:
            out.append(answer.feed(chunk))
    return b"".join([*out, answer.finish()])
