"""What is known about one request while it is answered: for its headers, its log line, metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from memedit.routing.steps import Prepared
from memedit.serving.asgi import Message, Receive, Send

CLIENT_GONE = 499
"""What the log says where the client left before there was a status."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer, filled in on the way."""

    method: str
    path: str
    wire: str | None = None
    route: str = ""
    """Of a batch whose prompts differ: ``mixed``."""
    reason: str = ""
    edits: str = ""
    adapter: str = ""
    note: str = ""
    guard: str = ""
    """Where an erasure was applied: whether the answer was ``clear``, or ``withheld``."""
    status: int = 0
    started: bool = False
    """Whether the answer's head is out, so that no other can follow."""
    bytes_in: int = 0
    bytes_out: int = 0
    decision_seconds: float | None = None
    error: str = ""
    own: bool = False
    """Whether memedit itself answers: the edit API."""
    request_id: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)
    """The ``x-memedit-*`` headers that an error of our own carries too."""
    begun: float = field(default_factory=time.perf_counter)

    def take(self, prepared: Prepared) -> None:
        """Note what was decided."""
        self.answer_headers = dict(prepared.headers)
        self.route = _one(prepared.headers.get("x-memedit-route", ""))
        self.reason = _one(prepared.headers.get("x-memedit-reason", ""))
        self.edits = prepared.headers.get("x-memedit-edits", "")
        self.adapter = prepared.adapter or ""
        self.note = prepared.headers.get("x-memedit-note", "")

    def fields(self) -> dict[str, object]:
        """Return the log line's fields; nothing of what was asked or answered is among them."""
        fields: dict[str, object] = {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "ms": round((time.perf_counter() - self.begun) * 1_000, 2),
        }
        if self.decision_seconds is not None:
            fields["decision_ms"] = round(self.decision_seconds * 1_000, 2)
        for name in ("wire", "route", "reason", "edits", "adapter", "note", "guard"):
            if value := getattr(self, name):
                fields[name] = value
        for name in ("error", "request_id"):
            if value := getattr(self, name):
                fields[name] = value
        fields["bytes_in"] = self.bytes_in
        fields["bytes_out"] = self.bytes_out
        return fields


class Noting:
    """The two ends of an ASGI connection, noting in an exchange what goes through them."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Receive, and count the bytes of the request."""
        message = await self._receive()
        self._exchange.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Send, and note the status and count the bytes of the answer."""
        if message["type"] == "http.response.start":
            self._exchange.started = True
            self._exchange.status = int(message["status"])
        self._exchange.bytes_out += len(message.get("body", b""))
        await self._send(message)


def _one(value: str) -> str:
    return "mixed" if "," in value else value
