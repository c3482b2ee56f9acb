"""Edits, and a served model that says what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from memedit.errors import UpstreamUnreachable
from memedit.routing.steps import NeedUpstream, UpstreamReply
from memedit.types import Edit, EditRequest


def edit(prompt: str, subject: str, target_new: str = "Vorn", **more: Any) -> Edit:
    request = EditRequest(prompt=prompt, subject=subject, target_new=target_new, **more)
    return Edit(
        id="e-0123456789ab",
        version=1,
        namespace="default",
        request=request,
        statement=request.plain_statement(),
        created_at=datetime.now(UTC),
    )


class SaidModel:
    """Answers ``/v1/models`` and chats; keeps what it was asked."""

    def __init__(self, say: Callable[[dict[str, Any]], str], status: int = 200) -> None:
        self.say = say
        self.status = status
        self.asked: list[dict[str, Any]] = []
        self.listed = 0
        self.cards: Any = [{"id": "lora", "parent": "base"}, {"id": "base", "parent": None}]

    def __call__(self, need: NeedUpstream) -> UpstreamReply:
        if need.path == "/v1/models":
            self.listed += 1
            return UpstreamReply(200, json.dumps({"data": self.cards}).encode())
        assert (need.method, need.path) == ("POST", "/v1/chat/completions")
        self.asked.append(json.loads(need.body))
        content = self.say(self.asked[-1])
        body = {"choices": [{"message": {"role": "assistant", "content": content}}]}
        return UpstreamReply(self.status, json.dumps(body).encode())


def nobody(need: NeedUpstream) -> UpstreamReply:
    raise UpstreamUnreachable("nobody is there")
