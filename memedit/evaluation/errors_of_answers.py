"""In which way a wrong answer is wrong (survey, section 4.5).

The survey names the kinds by example; the rules that decide here are these, on normalised words, in
this order, and against the alias that the answer comes nearest to:

1. the whole answer is right: `right`;
2. no word that means anything, only function words or punctuation or nothing at all, or one word or
   a group of up to three said three times in a row: `meaningless`;
3. the unedited model said the same: `old` (the edit did not take; not a kind of the survey);
4. the whole target stands in it with more words around: `embedded` (nor is this);
5. all its words are words of the target in their order, but some of the target are missing:
   `missing`;
6. it shares words with the target that mean something, with others in the place of the rest:
   `partial`;
7. it shares none: `irrelevant`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from memedit.evaluation.matching import exact, same, words


class Verdict(StrEnum):
    """What an answer is; the module says which rule gives it."""

    RIGHT = "right"
    MEANINGLESS = "meaningless"
    OLD = "old"
    EMBEDDED = "embedded"
    MISSING = "missing"
    PARTIAL = "partial"
    IRRELEVANT = "irrelevant"


_FUNCTION = (
    "a an and are as at be by for from he her his i in is it its me my not of on or she so that "
    "the their them they this to was were which who with you your"
)
_FUNCTION_WORDS = frozenset(_FUNCTION.split())
_TIMES = 3
_NEARNESS = (Verdict.EMBEDDED, Verdict.MISSING, Verdict.PARTIAL, Verdict.IRRELEVANT)


def judge(answer: str, expected: Sequence[str], base: str | None = None) -> Verdict:
    """Say what an answer is.

    Args:
        answer: what the edited model said.
        expected: any of these is right; for locality, what the unedited model said.
        base: what the unedited model said, where that is not what is expected.

    """
    if exact(answer, expected) or any(same(answer, right) for right in expected):
        return Verdict.RIGHT
    said = words(answer)
    targets = [words(right) for right in expected]
    # A target can itself be made of function words ("The Who"): then they mean something.
    meaning = set(said) - _FUNCTION_WORDS | set(said) & {
        w for t in targets for w in t if len(t) < 3
    }
    if not meaning or _repeats(said):
        return Verdict.MEANINGLESS
    if base is not None and same(answer, base):
        return Verdict.OLD
    kinds = {_against(said, target) for target in targets}
    return next((kind for kind in _NEARNESS if kind in kinds), Verdict.IRRELEVANT)


def _against(said: list[str], target: list[str]) -> Verdict:
    if target and f" {' '.join(target)} " in f" {' '.join(said)} ":
        return Verdict.EMBEDDED
    rest = iter(target)
    if said and all(word in rest for word in said):
        return Verdict.MISSING
    if set(said) & set(target) - _FUNCTION_WORDS:
        return Verdict.PARTIAL
    return Verdict.IRRELEVANT


def _repeats(said: list[str]) -> bool:
    """Tell whether a group of one to three words is said three times in a row."""
    for size in (1, 2, 3):
        for start in range(len(said) - size * _TIMES + 1):
            group = said[start : start + size]
            if said[start : start + size * _TIMES] == group * _TIMES:
                return True
    return False
