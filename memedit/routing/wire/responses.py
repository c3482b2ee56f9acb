"""OpenAI responses: ``input``, a string or a list of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memedit.routing.wire.base import (
    NotRead,
    Prompt,
    TextPlace,
    TextPrompt,
    WireFormat,
    compact_json,
    last_user_turn,
)
from memedit.routing.wire.items import ItemAnswers
from memedit.types import QueryText, Surface

_TEXT = ("input_text", "text")


class Responses(WireFormat):
    """``POST /v1/responses``; ``instructions`` stay as they are.

    Turns behind ``previous_response_id`` are known to the upstream alone: the query then stands
    without them.
    """

    name = "responses"
    path = "/v1/responses"
    surface = Surface.CHAT
    answers = ItemAnswers()

    def read(self, body: Mapping[str, Any]) -> tuple[Prompt, ...]:
        """Find ``input``, or the last user message among its items."""
        given = body.get("input")
        if isinstance(given, str):
            if not given.strip():
                raise NotRead("no-question")
            return (TextPrompt(QueryText(given), TextPlace(("input",))),)
        return last_user_turn(given, ("input",), _TEXT)

    def error_event(self, status: int, code: str, message: str) -> bytes:
        """Render an ``error`` event of the responses stream."""
        event = {"type": "error", "code": code, "message": message, "param": None}
        return b"event: error\ndata: " + compact_json(event) + b"\n\n"
