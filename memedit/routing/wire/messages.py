"""Anthropic messages: ``messages`` of content blocks, beside ``system``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memedit.routing.wire.base import Prompt, WireFormat, last_user_turn
from memedit.routing.wire.blocks import BlockAnswers
from memedit.types import Surface

_TEXT = ("text",)
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Messages(WireFormat):
    """``POST /v1/messages``; ``system`` stays as it is.

    Tool results come in user messages here; a message of nothing else is no turn of the user's.
    """

    name = "messages"
    path = "/v1/messages"
    surface = Surface.CHAT
    answers = BlockAnswers()

    def read(self, body: Mapping[str, Any]) -> tuple[Prompt, ...]:
        """Find the last user message with a text block."""
        return last_user_turn(body.get("messages"), ("messages",), _TEXT)

    def error_event(self, status: int, code: str, message: str) -> bytes:
        """Render an ``error`` event of the messages stream."""
        return b"event: error\ndata: " + self.error(status, code, message) + b"\n\n"

    def _error(self, status: int, code: str, message: str) -> dict[str, Any]:
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}
