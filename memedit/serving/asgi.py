"""The ASGI types, and the two things every part does with them: read a body, send an answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from memedit.errors import MemeditError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


class BodyTooLarge(MemeditError):
    """The request's body is longer than the setting allows."""

    code = "body_too_large"
    status = 413


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of our own, whole."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())

    @classmethod
    def of_json(
        cls, status: int, value: object, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Reply:
        """Make an answer of a JSON-ready value."""
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(status, body, JSON, headers)

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send the answer; ``head`` leaves the body out, as HEAD asks for."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [
                    (b"content-type", self.content_type),
                    (b"content-length", str(len(self.body)).encode()),
                    *self.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def header(headers: RawHeaders, name: bytes) -> bytes | None:
    """Return the first header called ``name`` (lower case), or ``None``."""
    for key, value in headers:
        if key == name:
            return value
    return None


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read the whole request body, exactly as it came.

    Raises:
        BodyTooLarge: the body is, or says it is, longer than ``limit`` bytes.
        ClientGone: the client left before it had sent all of it.

    """
    announced = header(scope["headers"], b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise _too_large(f"{int(announced):,}", limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(f"more than {limit:,}", limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(got: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request body has {got} bytes, at most {limit:,} are accepted; "
        "send a smaller one or raise serve.max_body_bytes"
    )
