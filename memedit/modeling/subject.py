"""Where a subject stands in a prompt's tokens.

The place comes from the tokenizer's offset mapping of the whole prompt, never from the length of a
piece tokenised alone: a BOS, a merged space or a chat template would shift it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from memedit.errors import InvalidInputError
from memedit.modeling.forms import PromptForm
from memedit.modeling.tokens import Encoded, encode_prompt


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``first`` to ``last``, both included, counted in the unpadded row."""

    first: int
    last: int


def subject_span(
    tokenizer: Any, prompt: str, subject: str, form: PromptForm | None = None
) -> tuple[Encoded, Span]:
    """Cut a prompt into tokens and find its subject; in a padded batch add ``Batch.starts``.

    Of a subject that occurs twice, the last occurrence counts, and whole words go before parts of
    words.  Where it does not stand as it is spelled, its first letter may be of the other case.
    In a rendered prompt only the prompt itself is searched, not what the form adds to it.

    Raises:
        InvalidInputError: the prompt does not hold the subject, or the tokenizer gives no offsets.

    """
    encoded = encode_prompt(tokenizer, prompt, form)
    return encoded, span_of(encoded, subject, prompt)


def span_of(encoded: Encoded, subject: str, prompt: str | None = None) -> Span:
    """Find a subject in a prompt that is cut already; ``prompt`` as it was before it was rendered.

    Raises:
        InvalidInputError: the subject is not there, or the tokenizer gives no offsets.

    """
    if encoded.offsets is None:
        raise InvalidInputError(
            "the tokenizer is a slow one, which does not say which characters a token stands for; "
            "load a fast one (AutoTokenizer with use_fast=True, or a tokenizer.json)"
        )
    start = _last_occurrence(encoded.text, subject, prompt)
    end = start + len(subject)
    # A token may begin with the space before the subject or go on behind it; several tokens may
    # share one character (byte-level tokens of an accent or an emoji).
    inside = [n for n, (a, b) in enumerate(encoded.offsets) if a < end and b > start]
    if not inside:
        raise InvalidInputError(
            f"no token of {encoded.text!r} stands for {subject!r} (characters {start} to {end}); "
            "the tokenizer's offsets do not cover it"
        )
    return Span(inside[0], inside[-1])


def _last_occurrence(text: str, subject: str, prompt: str | None) -> int:
    if not subject.strip():
        raise InvalidInputError("the subject is empty; expected what the prompt is about")
    low, high = 0, len(text)
    if prompt is not None and prompt.strip() and (at := text.rfind(prompt.strip())) >= 0:
        low, high = at, at + len(prompt.strip())
    within = text[low:high]
    before = r"(?<!\w)" if subject[0].isalnum() else ""
    after = r"(?!\w)" if subject[-1].isalnum() else ""
    # "the Bahamas" may begin a sentence, and "The Bahamas" stand within one.
    turned = subject[0].swapcase() + subject[1:]
    for spelled in (subject, turned) if len(turned) == len(subject) else (subject,):
        words = [m.start() for m in re.finditer(f"(?={before}{re.escape(spelled)}{after})", within)]
        at = words[-1] if words else within.rfind(spelled)
        if at >= 0:
            return low + at
    near = within.casefold().rfind(subject.casefold())
    hint = (
        f" It holds {within[near : near + len(subject)]!r}: write the subject as the prompt does."
        if near >= 0
        else " Give the subject as it stands in the prompt."
    )
    raise InvalidInputError(f"the prompt {within!r} does not hold the subject {subject!r}.{hint}")
