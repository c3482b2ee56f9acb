"""A served model that keeps what it was sent and answers with the prompt that it saw."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ToyModel:
    """ASGI app; ``received`` is what came in, oldest first; token ids are character codes."""

    received: list[Received] = field(default_factory=list)
    fail_with: int | None = None

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        request = Received(scope["method"], scope["path"], headers, body)
        self.received.append(request)
        await self._answer(request, send)

    async def _answer(self, request: Received, send: Send) -> None:
        if self.fail_with is not None:
            error = {"error": {"message": "the toy broke", "type": "toy", "code": None}}
            await _reply(send, self.fail_with, error)
        elif request.path.endswith("/v1/models"):
            await _reply(send, 200, {"object": "list", "data": [{"id": "toy", "object": "model"}]})
        elif request.path.endswith("/detokenize"):
            text = "".join(chr(token) for token in request.json["tokens"])
            await _reply(send, 200, {"prompt": text})
        elif request.path.endswith("/tokenize"):
            await _reply(send, 200, {"tokens": [ord(c) for c in request.json["prompt"]]})
        elif request.path.endswith("/v1/chat/completions"):
            text = str(request.json["messages"][-1]["content"])
            await (_stream(send, text) if request.json.get("stream") else _chat(send, text))
        elif request.path.endswith("/v1/completions"):
            choice = {"index": 0, "text": str(request.json["prompt"]), "finish_reason": "stop"}
            whole = {"id": "c", "object": "text_completion", "created": 1, "model": "toy"}
            await _reply(send, 200, {**whole, "choices": [choice]})
        else:
            await _reply(send, 404, {"error": {"message": "no such path", "code": "not_found"}})


async def _chat(send: Send, text: str) -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "toy"}
    await _reply(send, 200, {**whole, "choices": [choice]})


async def _stream(send: Send, text: str) -> None:
    kind = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": kind})
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "toy"}
    for word in text.split(" "):
        choice = {"index": 0, "delta": {"content": word + " "}, "finish_reason": None}
        event = b"data: " + json.dumps({**whole, "choices": [choice]}).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _reply(send: Send, status: int, value: Any) -> None:
    kind = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})
