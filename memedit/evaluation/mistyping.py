"""Prompts whose subject has a letter wrong, as people type them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from memedit.evaluation.cases import EditCase
from memedit.evaluation.scoping import ScopeProbe

_WORD: Final = re.compile(r"[^\W\d_]{5,}")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Mistyped:
    """What became of prompts."""

    probes: list[ScopeProbe]
    left_out: int
    """Prompts that should fire and do not name the subject, or have no word to get wrong."""


def with_typos(probes: Sequence[ScopeProbe], cases: Sequence[EditCase], seed: int) -> Mistyped:
    """Make one letter of the subject wrong in each prompt that should fire; others stay.

    One word of at least five letters has two neighbours change places, a letter left out, doubled,
    or replaced; its first and last letter stay.

    Args:
        probes: of ``scope_probes``.
        cases: those that the probes are from.
        seed: of the mistakes.

    """
    rng = random.Random(seed)
    kept: list[ScopeProbe] = []
    left_out = 0
    for probe in probes:
        if not probe.own:
            kept.append(probe)
            continue
        subjects = [request.subject for request in cases[probe.case].requests]
        text = next(
            (one for subject in subjects if (one := _mistype(rng, probe.text, subject))), None
        )
        if text is None:
            left_out += 1
        else:
            kept.append(replace(probe, text=text))
    return Mistyped(kept, left_out)


def _mistype(rng: random.Random, text: str, subject: str) -> str | None:
    at = text.find(subject)
    words = [found.span() for found in _WORD.finditer(subject)]
    if at < 0 or not words:
        return None
    start, end = rng.choice(words)
    i = at + rng.randrange(start + 1, end - 2)
    letter, after = text[i], text[i + 1]
    wrong = rng.choice(("swapped", "left out", "doubled", "replaced"))
    if wrong == "swapped" and letter != after:
        return f"{text[:i]}{after}{letter}{text[i + 2 :]}"
    if wrong == "left out":
        return f"{text[:i]}{text[i + 1 :]}"
    if wrong == "doubled":
        return f"{text[:i]}{letter}{text[i:]}"
    other = rng.choice([one for one in _LETTERS if one != letter.lower()])
    return f"{text[:i]}{other}{text[i + 1 :]}"
