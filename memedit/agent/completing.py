"""Asking an OpenAI-compatible endpoint to go on with a text: bodies and replies, no network."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from memedit.agent.trace import Usage
from memedit.errors import UpstreamError
from memedit.routing import NeedRoutes, NeedUpstream, UpstreamReply
from memedit.types import Surface

T = TypeVar("T")
Steps: TypeAlias = Generator[NeedRoutes | NeedUpstream, Any, T]
"""Work that yields what it needs, is sent the answers, and returns ``T``; see ``routing.drive``."""

_SHOWN_OF_AN_ERROR = 300


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model went on with."""

    text: str
    cut_off: bool
    """It ended because of the limit of tokens."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How an endpoint is asked; one call goes on with one text, greedily."""

    model: str | None = None
    """``None``: the first that the endpoint lists."""
    surface: Surface = Surface.COMPLETION
    max_tokens: int = 160
    """Of one call."""

    def named(self) -> Steps[Endpoint]:
        """Return the endpoint with its model's name, which it is asked for where none is given.

        Raises:
            UpstreamError: no answer, or it lists no model.

        """
        if self.model is not None:
            return self
        reply: UpstreamReply = yield NeedUpstream("GET", "/v1/models", b"")
        value = _object("/v1/models", reply)
        try:
            return replace(self, model=str(value["data"][0]["id"]))
        except (LookupError, TypeError):
            raise UpstreamError("/v1/models lists no model; name one") from None

    def complete(self, prompt: str, stop: Sequence[str]) -> Steps[Completion]:
        """Go on with ``prompt`` up to one of ``stop`` (at most four, which is all that some take).

        In a chat the text is the user's turn, so that a later call still begins with it.

        Raises:
            UpstreamError: no answer, a refusal, or an answer without text.

        """
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stop": list(stop),
        }
        chat = self.surface is Surface.CHAT
        asked: dict[str, Any] = (
            {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        )
        path = "/v1/chat/completions" if chat else "/v1/completions"
        content = json.dumps(body | asked).encode()  # ASCII: any text can be sent
        reply: UpstreamReply = yield NeedUpstream("POST", path, content)
        return _read(path, reply, chat=chat)


def _read(path: str, reply: UpstreamReply, *, chat: bool) -> Completion:
    value = _object(path, reply)
    try:
        choice = value["choices"][0]
        text = choice["message"]["content"] if chat else choice["text"]
    except (LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise UpstreamError(f"{path} answered without text; is the model one that speaks?")
    return Completion(text, choice.get("finish_reason") == "length", _usage(value.get("usage")))


def _object(path: str, reply: UpstreamReply) -> dict[str, Any]:
    if not 200 <= reply.status < 300:
        said = " ".join(reply.body.decode("utf-8", "replace").split())[:_SHOWN_OF_AN_ERROR]
        raise UpstreamError(f"{path} answered {reply.status}: {said}")
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UpstreamError(f"{path} answered with no JSON object; is it an OpenAI-like server?")
    return value


def _usage(said: Any) -> Usage:
    given = said if isinstance(said, dict) else {}
    details = given.get("prompt_tokens_details")
    return Usage(
        calls=1,
        prompt_tokens=_count(given, "prompt_tokens"),
        cached_tokens=_count(details, "cached_tokens"),
        completion_tokens=_count(given, "completion_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
