"""Facts to trace, cut into tokens, with the places at which states are put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memedit.errors import InvalidInputError
from memedit.modeling.forms import PromptForm
from memedit.modeling.subject import Span, span_of
from memedit.modeling.tokens import Tokens, encode_pair, encode_prompt
from memedit.modeling.trace import Position, Skipped


@dataclass(frozen=True, slots=True)
class TracePrompt:
    """A prompt whose answer the model may know, and what it is about."""

    prompt: str
    subject: str
    answer: str


@dataclass(frozen=True, slots=True)
class TracedFact:
    """A fact as the model sees it, without padding."""

    tokens: Tokens
    """Its target is the answer's first token alone."""
    span: Span
    places: dict[Position, int]
    """Where states are put back; nothing follows a subject that ends the prompt."""


def cut_facts(
    tokenizer: Any,
    prompts: Sequence[TracePrompt],
    positions: Sequence[Position],
    form: PromptForm | None,
) -> tuple[list[tuple[int, TracedFact]], list[Skipped]]:
    """Cut prompts into tokens; return facts with their numbers, and what could not be cut."""
    facts: list[tuple[int, TracedFact]] = []
    skipped: list[Skipped] = []
    for number, one in enumerate(prompts):
        try:
            encoded = encode_prompt(tokenizer, one.prompt, form)
            span = span_of(encoded, one.subject, one.prompt)
            tokens = encode_pair(tokenizer, one.prompt, one.answer, form)
        except InvalidInputError as error:
            skipped.append(Skipped(number, str(error)))
            continue
        last = len(encoded.ids) - 1
        places = {
            Position.SUBJECT_FIRST: span.first,
            Position.SUBJECT_LAST: span.last,
            Position.AFTER_SUBJECT: span.last + 1,
            Position.PROMPT_LAST: last,
        }
        there = {name: at for name, at in places.items() if at <= last and name in positions}
        facts.append((number, TracedFact(Tokens(tokens.prompt, tokens.target[:1]), span, there)))
    return facts, skipped
