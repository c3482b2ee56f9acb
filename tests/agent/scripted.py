"""An endpoint that says what a script has, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from memedit.errors import MemeditError
from memedit.routing import NeedUpstream, UpstreamReply


@dataclass
class Scripted:
    """Says its lines in turn; an error among them is raised, a pair is (text, finish reason)."""

    script: Sequence[str | tuple[str, str] | MemeditError]
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        return [
            body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
            for body in self.bodies
        ]

    def __call__(self, step: NeedUpstream) -> UpstreamReply:
        if step.path == "/v1/models":
            return UpstreamReply(200, b'{"data": [{"id": "scripted"}]}')
        said = self.script[len(self.bodies)]
        self.bodies.append(json.loads(step.body))
        if isinstance(said, MemeditError):
            raise said
        text, finish = said if isinstance(said, tuple) else (said, "stop")
        chat = step.path.endswith("/chat/completions")
        choice = {"message": {"content": text}} if chat else {"text": text}
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
        value = {"choices": [choice | {"finish_reason": finish}], "usage": usage}
        return UpstreamReply(200, json.dumps(value).encode())

    def transport(self) -> httpx2.MockTransport:
        def handle(request: httpx2.Request) -> httpx2.Response:
            reply = self(NeedUpstream(request.method, request.url.path, request.content))
            return httpx2.Response(reply.status, content=reply.body)

        return httpx2.MockTransport(handle)
