"""OpenAI completions: ``prompt``, one or many, as text or as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memedit.routing.wire.base import (
    NotRead,
    Prompt,
    TextPlace,
    TextPrompt,
    TokenPlace,
    TokenPrompt,
    WireFormat,
)
from memedit.routing.wire.block import asked, last_block
from memedit.routing.wire.choices import ChoiceAnswers
from memedit.routing.wire.document import Path
from memedit.types import QueryText, Surface


class Completions(WireFormat):
    """``POST /v1/completions``; a batch is routed prompt by prompt."""

    name = "completions"
    path = "/v1/completions"
    surface = Surface.COMPLETION
    answers = ChoiceAnswers(chat=False)

    def read(self, body: Mapping[str, Any]) -> tuple[Prompt, ...]:
        """Find the prompts: ``str``, ``[str]``, ``[int]`` or ``[[int]]``."""
        given = body.get("prompt")
        if isinstance(given, str):
            prompts: tuple[Prompt, ...] = (_text(given, ("prompt",)),)
        elif not isinstance(given, list) or not given:
            raise NotRead("unknown-shape")
        elif all(isinstance(prompt, str) for prompt in given):
            prompts = tuple(_text(prompt, ("prompt", i)) for i, prompt in enumerate(given))
        elif _are_ids(given):
            prompts = (TokenPrompt(TokenPlace(("prompt",), tuple(given))),)
        elif all(_are_ids(prompt) for prompt in given):
            prompts = tuple(
                TokenPrompt(TokenPlace(("prompt", i), tuple(ids))) for i, ids in enumerate(given)
            )
        else:
            raise NotRead("unknown-shape")
        return prompts


def _text(prompt: str, path: Path) -> TextPrompt:
    return TextPrompt(QueryText(asked(prompt)), TextPlace(path, last_block(prompt)))


def _are_ids(given: object) -> bool:
    # bool is an int to Python, but no token id to the API
    return (
        isinstance(given, list)
        and bool(given)
        and all(isinstance(token, int) and not isinstance(token, bool) for token in given)
    )
