"""OpenAI chat completions: ``messages``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memedit.routing.wire.base import Prompt, WireFormat, last_user_turn
from memedit.routing.wire.choices import ChoiceAnswers
from memedit.types import Surface

_TEXT = ("text", "input_text")


class ChatCompletions(WireFormat):
    """``POST /v1/chat/completions``; no system message is ever added."""

    name = "chat"
    path = "/v1/chat/completions"
    surface = Surface.CHAT
    answers = ChoiceAnswers(chat=True)

    def read(self, body: Mapping[str, Any]) -> tuple[Prompt, ...]:
        """Find the last user turn in ``messages``."""
        return last_user_turn(body.get("messages"), ("messages",), _TEXT)
