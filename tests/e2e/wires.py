"""The four wire formats, as a client that knows nothing of SDKs speaks them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MODEL = "atlas"


@dataclass(frozen=True)
class Answer:
    """A whole reply, with the pieces in which it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def route(self) -> str | None:
        return self.headers.get("x-memedit-route")

    @property
    def edits(self) -> list[str]:
        return [ref for ref in self.headers.get("x-memedit-edits", "").split(",") if ref]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON data of every server-sent event."""
        return list(_events(self.body))


def send(
    url: str,
    method: str,
    path: str,
    body: bytes | Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> Answer:
    """Ask once, on a connection of its own; header names of the answer are in lower case."""
    where = urlsplit(url)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} if data is not None else {}
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout)
    try:
        connection.request(method, path, data, {**given, **(headers or {})})
        reply = connection.getresponse()
        got = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, got, reply.read())
    finally:
        connection.close()


def post(url: str, path: str, body: bytes | Mapping[str, Any], **headers: str) -> Answer:
    """POST a body; ``x_memedit_namespace="a"`` becomes the header ``x-memedit-namespace: a``."""
    return send(url, "POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})


@dataclass(frozen=True)
class Wire:
    """One format: how a question is put, and where its answer stands."""

    name: str
    path: str
    put: Callable[[str], dict[str, Any]]
    read: Callable[[Any], str]
    read_event: Callable[[dict[str, Any]], str]
    limit: str
    ends_with_done: bool

    def body(self, question: str, *, tokens: int = 24, **more: Any) -> dict[str, Any]:
        return {
            "model": MODEL,
            **self.put(question),
            self.limit: tokens,
            "temperature": 0,
            **more,
        }

    def ask(
        self, url: str, question: str, *, stream: bool = False, tokens: int = 24, **headers: str
    ) -> tuple[str, Answer]:
        """Ask and return the text of the answer with the reply it came in."""
        more = {"stream": True} if stream else {}
        answer = post(url, self.path, self.body(question, tokens=tokens, **more), **headers)
        assert answer.status == 200, (answer.status, answer.body)
        if not stream:
            return self.read(answer.json()), answer
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body.rstrip().endswith(b"data: [DONE]") == self.ends_with_done
        return "".join(self.read_event(event) for event in answer.events), answer


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.decode().splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _user(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}]}


def _chat_piece(event: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])


def _responses_text(reply: dict[str, Any]) -> str:
    parts = (part for item in reply["output"] for part in item.get("content") or ())
    return "".join(part.get("text", "") for part in parts)


def _messages_piece(event: dict[str, Any]) -> str:
    is_text = event["type"] == "content_block_delta"
    return str(event["delta"].get("text", "")) if is_text else ""


CHAT = Wire(
    "chat",
    "/v1/chat/completions",
    _user,
    lambda reply: reply["choices"][0]["message"]["content"] or "",
    _chat_piece,
    "max_tokens",
    True,
)
COMPLETIONS = Wire(
    "completions",
    "/v1/completions",
    lambda prompt: {"prompt": prompt},
    lambda reply: reply["choices"][0]["text"],
    lambda event: "".join(choice["text"] for choice in event["choices"]),
    "max_tokens",
    True,
)
RESPONSES = Wire(
    "responses",
    "/v1/responses",
    lambda question: {"input": question},
    _responses_text,
    lambda event: event["delta"] if event["type"] == "response.output_text.delta" else "",
    "max_output_tokens",
    False,
)
MESSAGES = Wire(
    "messages",
    "/v1/messages",
    _user,
    lambda reply: "".join(block.get("text", "") for block in reply["content"]),
    _messages_piece,
    "max_tokens",
    False,
)
WIRES = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)
