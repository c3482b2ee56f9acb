"""Several questions in one prompt, each of which may ask what another edit changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from memedit.scope.base import ScopeInput
from memedit.types import Candidate, QueryText, ScopeDecision

_LONGEST: Final = 400
"""Characters of a prompt that is taken apart: in a passage questions are quoted, too."""
_MOST: Final = 8
"""Questions of one prompt; one of more is read as a whole."""
_WORDS = "who|whom|whose|what|where|when|which|why|how"
_ASKS: Final = re.compile(
    rf"(?:(?:in|of|at|on|by|from|to|with|for|under|through) )?(?:{_WORDS})(?:'s|\u2019s)?\b", re.I
)
"""Begins a question with a word that asks."""
_POLITE: Final = re.compile(
    r"(?:\W*\b(?:hi|hello|hey|so|ok|okay|well|please|and|also|then|now|tell me|let me know|"
    r"i(?:'d| would) like to know|do you know|(?:can|could|would|will) you (?:please )?"
    r"(?:tell me|say))\b[\s,:]*)+",
    re.I,
)
"""What may stand before one."""
_RELATIVE: Final = re.compile(rf"\b(?:{_WORDS}|that)\b", re.I)
_BETWEEN: Final = re.compile(r"(?<=[?])\s+|,?\s+(?:and|also|plus)\s+(?:also\s+)?|\s*;\s*")


def questions_in(text: str) -> tuple[str, ...]:
    """Return the questions of a prompt, where it is nothing but two to eight of them; else none.

    A clause ("the man who wrote Emma and who died") is no question, nor is what has no word that
    asks at its beginning.

    >>> questions_in("Who wrote Emma? And what is the capital of Peru?")
    ('Who wrote Emma?', 'And what is the capital of Peru?')
    >>> questions_in("What is the capital of Peru, and who leads it?")
    ('What is the capital of Peru', 'who leads it?')
    >>> questions_in("Who was the man who wrote Emma and whose sister drew?")
    ()
    """
    if len(text) > _LONGEST:
        return ()
    asked = _begins(text, 0)
    if asked is None:
        return ()
    parts: list[str] = []
    start = 0
    for found in _BETWEEN.finditer(text):
        # behind a clause ("the man who ...") another one goes on, and no question
        sentence = text[found.start() - 1] == "?"
        if not sentence and _RELATIVE.search(text, asked, found.start()):
            continue
        following = _begins(text, found.end())
        if following is not None:
            parts.append(text[start : found.start()].strip())
            start, asked = found.end(), following
    parts.append(text[start:].strip())
    return tuple(parts) if 1 < len(parts) <= _MOST else ()


def _begins(text: str, at: int) -> int | None:
    """Return where the word that asks ends, if a question begins there with one."""
    polite = _POLITE.match(text, at)
    found = _ASKS.match(text, at if polite is None else polite.end())
    return None if found is None else found.end()


def parts_of(one: ScopeInput) -> Iterator[ScopeInput]:
    """Yield each question of a query that asks several, as a turn behind those before it.

    None where a candidate's name looks like two questions ("You and What Army").
    """
    text, before = one.query.text, one.query.context
    parts = questions_in(text) if one.candidates else ()
    if not parts or any(_is_parted(text, candidate) for candidate in one.candidates):
        return
    for part in parts:
        yield ScopeInput(QueryText(part, before), one.candidates)
        before = (*before, part)


def _is_parted(text: str, candidate: Candidate) -> bool:
    request = candidate.edit.request
    names = (request.subject, *request.aliases)
    return any(_BETWEEN.search(name) and name.casefold() in text.casefold() for name in names)


def by_question(whole: ScopeDecision, *parts: ScopeDecision) -> ScopeDecision:
    """Return the surest decision of the questions about a candidate's subject.

    ``whole``, of the prompt as it stands, where none names it.
    """
    asked = [one for one in parts if one.unrelated < 1.0]
    return max(asked, key=lambda one: (one.probability, one.direct), default=whole)
