"""Conversations of two turns, as they are judged: a question, and one that leans on it.

After "What is the capital of X?" comes "And its currency?": that asks for the currency, and no more
for the capital.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from memedit.scope.pair_input import HIDDEN
from memedit.scope.query import completed

_PERSONS = re.compile(r"person|athlete|musician|artist|writer|singer|bishop|character|employee")
_NOUNS = (
    "And its {noun}?",
    "And the {noun}?",
    "What about the {noun}?",
    "and its {noun}",
    "And what is its {noun}?",
    "What's its {noun}?",
    "The {noun}?",
    "And what's the {noun}, then?",
    "Also the {noun}, please.",
)


def leaning(rng: random.Random, about: str, nouns: Sequence[str], texts: Sequence[str]) -> str:
    """Return a turn that asks a relation and leaves out whom it is asked of.

    Args:
        rng: says which.
        about: the kind of subject; persons are he or she.
        nouns: of the relation.
        texts: that ask or state it, ``HIDDEN`` for the subject.

    """
    person = _PERSONS.search(about) is not None
    who, whose, whom = rng.choice((("he", "his", "him"), ("she", "her", "her"))) if person else (
        "it", "its", "it")  # fmt: skip
    if rng.random() < 0.5 and nouns:
        text = rng.choice(_NOUNS).format(noun=rng.choice(nouns))
        return re.sub(r"\bits\b", whose, text)
    text = rng.choice(texts)
    owned = re.sub(rf"{re.escape(HIDDEN)}['’]s\b", whose, text)  # noqa: RUF001
    # a name at the end, or behind a preposition, is no subject of its sentence
    owned = re.sub(
        rf"\b(of|in|for|to|by|from|at|on|with|about|into|like) {re.escape(HIDDEN)}",
        rf"\1 {whom}",
        owned,
    )
    said = owned.replace(HIDDEN, who)
    if rng.random() < 0.3:
        said = f"And {said[0].lower()}{said[1:]}"
    return said[0].upper() + said[1:]


def two_turns(earlier: str, turn: str) -> str:
    """Return both turns as a classifier reads them."""
    return completed(turn, earlier)
