"""What edits are asked by, and whether two of them are in force at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from memedit.memory.texts import own_texts
from memedit.types import Candidate, Edit

Judge = Callable[[Sequence[tuple[str, Candidate]]], Sequence[float | None]]
"""Says for each pair of a prompt and an edit how probable it is that the edit answers the prompt;
``None`` where it does not."""


def asked_by(prompt: str) -> str:
    """Return a prompt as far as case, width, white space and a last mark do not matter."""
    folded = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(folded.split()).rstrip(" .?:!")


def prompts_of(edit: Edit) -> set[str]:
    """Return by which prompts an edit is certainly asked: its own, its rephrases, by its aliases.

    Each as ``asked_by`` returns it.
    """
    return {asked_by(text.text) for text in own_texts(edit.request) if text.kind != "statement"}


def overlapping(one: Edit, other: Edit) -> bool:
    """Tell whether there is a moment at which both are valid."""
    return _begins_before_end(one, other) and _begins_before_end(other, one)


def _begins_before_end(one: Edit, other: Edit) -> bool:
    return one.valid_from is None or other.valid_to is None or one.valid_from < other.valid_to
