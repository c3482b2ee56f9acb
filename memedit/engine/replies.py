"""What chat and completions answer alike: one request's identity, its usage, its events."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memedit.engine.bodies import GenerationBody
from memedit.engine.faults import as_fault
from memedit.engine.generation import Generation
from memedit.engine.sequence import Delta

LOWEST = -9999.0
"""Written for a log-probability of minus infinity, which JSON cannot hold."""
DONE = b"data: [DONE]\n\n"

ChoiceOf = Callable[[int, Delta], dict[str, Any]]
"""Turns (index, delta) into the JSON of a choice."""


def event(payload: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return f"data: {json.dumps(payload, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


@dataclass(slots=True)
class Reply:
    """The frame around a request's choices, and the tokens counted for it."""

    prefix: str
    object: str
    model: str
    prompt_tokens: int
    completion_tokens: int = 0
    id: str = field(init=False)
    created: int = field(init=False)

    def __post_init__(self) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def framed(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Return an answer, or a chunk of one, that holds ``choices``."""
        return {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }

    def usage(self) -> dict[str, Any]:
        """Return the tokens counted so far."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
        }

    async def whole(self, generation: Generation, choice_of: ChoiceOf) -> dict[str, Any]:
        """Wait for every sequence and return the answer, choices in order."""
        choices: dict[int, dict[str, Any]] = {}
        async for index, delta in generation.deltas():
            self.completion_tokens += len(delta.tokens)
            choices[index] = choice_of(index, delta)
        ordered = [choices[index] for index in sorted(choices)]
        return self.framed(ordered, usage=self.usage())

    async def events(
        self,
        generation: Generation,
        choice_of: ChoiceOf,
        body: GenerationBody,
        opening: list[dict[str, Any]],
    ) -> AsyncIterator[bytes]:
        """Yield the answer as server-sent events; ``opening`` are choices sent first."""
        options = body.stream_options
        continuous = bool(options and options.include_usage and options.continuous_usage_stats)

        def chunk(choice: dict[str, Any]) -> bytes:
            more = {"usage": self.usage()} if continuous else {}
            return event(self.framed([choice], **more))

        try:
            for choice in opening:
                yield chunk(choice)
            async for index, delta in generation.deltas():
                self.completion_tokens += len(delta.tokens)
                yield chunk(choice_of(index, delta))
            if options and options.include_usage:
                yield event(self.framed([], usage=self.usage()))
        except Exception as error:  # the status line is gone: all that is left is an event
            yield event(as_fault(error).body())
        yield DONE
