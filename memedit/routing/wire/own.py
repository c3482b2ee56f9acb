"""Answers of our own in the shape of chat completions and completions, whole or streamed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from memedit.routing.events import written
from memedit.routing.wire.base import compact_json


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What an answer cost."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Those prompt tokens that the server's prefix cache held."""
    completion_tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the object that both APIs call ``usage``."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


NOTHING_SPENT: Final = TokenUsage()


@dataclass(frozen=True, slots=True)
class Said:
    """An answer before it has a shape."""

    text: str
    model: str | None
    usage: TokenUsage


def spoken(said: Said, request: Mapping[str, Any], *, chat: bool) -> tuple[str, bytes]:
    """Write an answer as the request wants it; return its content type and its bytes.

    A stream comes as three events, and as four where the request asks for the usage.

    Args:
        said: the answer.
        request: the parsed body, for ``stream`` and ``stream_options``.
        chat: whether it is a chat completion.

    """
    kind = "chat.completion" if chat else "text_completion"
    frame: dict[str, Any] = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-memedit-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": said.model or "",
    }
    if request.get("stream") is not True:
        message = {"message": {"role": "assistant", "content": said.text}}
        choice = _choice(message if chat else {"text": said.text}, "stop")
        whole = {**frame, "choices": [choice], "usage": said.usage.to_dict()}
        return "application/json", compact_json(whole)
    if chat:
        frame["object"] = "chat.completion.chunk"
    options = request.get("stream_options")
    with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
    deltas: list[tuple[dict[str, Any], str | None]] = (
        [
            ({"delta": {"role": "assistant", "content": ""}}, None),
            ({"delta": {"content": said.text}}, None),
            ({"delta": {}}, "stop"),
        ]
        if chat
        else [({"text": said.text}, None), ({"text": ""}, "stop")]
    )
    nothing = {"usage": None} if with_usage else {}  # as OpenAI has it, in all but the last
    events = [{**frame, "choices": [_choice(*one)], **nothing} for one in deltas]
    if with_usage:
        events.append({**frame, "choices": [], "usage": said.usage.to_dict()})
    stream = b"".join(map(written, events)) + b"data: [DONE]\n\n"
    return "text/event-stream; charset=utf-8", stream


def _choice(said: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish}
