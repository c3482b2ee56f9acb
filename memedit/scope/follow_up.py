"""Follow-up turns that name a subject of their own: "And of Germany?", "Who wrote Emma, then?".

Pure: what is a name is told by its capital letter, no index is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from memedit.indexes.names import COMMON_WORDS, SMALL_WORDS, words_of

OPENERS = re.compile(
    r"(?:and|or|but|so|then|also|what about|how about|what of|same for|why|since when|what else"
    r"|who else|where else|anything else)\b",
    re.IGNORECASE,
)
"""How a turn begins that continues the one before it."""

Span = tuple[int, int]
"""Places among the letters of a text, the end exclusive."""

_WORD = re.compile(r"[^\W\d_](?:[\w-]|['’](?!s\b))*")  # noqa: RUF001
_SENTENCE_BEFORE = re.compile(r"(?:^|[.!?]\s+|\n)[\W_]*$")
_UNSAID = (
    "i ok okay english january february march april may june july august september october "
    "november december monday tuesday wednesday thursday friday saturday sunday"
)
_NO_NAMES = frozenset(_UNSAID.split())
"""Words with a capital letter that change no subject: "And in June?"."""
_GAPS = (" ", "-", ".")
_INTO = re.compile(r"[\s,]*(?:(?:of|for|in|to|with|by|from|at|on)\s+)?(?:the\s+)?", re.IGNORECASE)
_OUT_OF = re.compile(
    r"(?:['’]s?)?(?:,?\s*(?:then|please|instead|though))?[\s.?!]*$",  # noqa: RUF001
    re.IGNORECASE,
)
_LOWER = re.compile(r"[\s,]*of\s+([\w' -]{2,60}?)[\s.?!]*$", re.IGNORECASE)
_OF_WHAT = re.compile(r"\bof\s+([\w' -]{2,60}?)(?=[\s.?!]*$)", re.IGNORECASE)
_MOST = 4
"""Words of a name that has no capital letter, at most."""


def names_in(text: str) -> list[Span]:
    """Find the runs of capitalised words, without the first word of a sentence.

    A run of words that stand in any question is no name: "And Who wrote it?".

    >>> text = "And where did Albert Einstein live in June?"
    >>> [text[start:end] for start, end in names_in(text)]
    ['Albert Einstein']
    """
    if text.isupper():
        return []
    runs: list[Span] = []
    for found in _WORD.finditer(text):
        start, end = found.span()
        if not text[start].isupper() or found.group().lower() in _NO_NAMES:
            continue
        if _SENTENCE_BEFORE.search(text, max(0, start - 8), start):
            continue
        if runs and text[runs[-1][1] : start] in _GAPS:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return [run for run in runs if not COMMON_WORDS.issuperset(words_of(text[slice(*run)]).words)]


def new_names(text: str, earlier: str) -> list[Span]:
    """Find the names in a text of which some word does not stand in the turn before it."""
    said = set(words_of(earlier).words)
    return [
        (start, end)
        for start, end in names_in(text)
        if not said.issuperset(words_of(text[start:end]).words)
    ]


def asks_why(text: str) -> bool:
    """Tell whether a turn asks for the reason of what was said: "But why Lyon?"."""
    return "why" in words_of(text).words


def subject_of(text: str, earlier: str) -> str | None:
    """Return what a turn names instead of the earlier subject, where it says nothing else.

    >>> subject_of("And of Germany?", "What is the capital of France?")
    'Germany'
    >>> subject_of("And who wrote Emma?", "Who wrote Dune?")
    """
    at = 0
    while found := OPENERS.match(text, at):
        at = found.end()
        at += len(text[at:]) - len(text[at:].lstrip(" ,"))
    if not at or asks_why(text):
        return None
    names = new_names(text, earlier)
    if names:
        start, end = names[0][0], names[-1][1]
        name = text[start:end]
        between = set(words_of(name).words)
        for one in names:
            between.difference_update(words_of(text[slice(*one)]).words)
        into = _INTO.match(text, at)
        # an article may be a part of the name
        begins = into is not None and (into.end() == start or not text[at:start].strip())
        return name if begins and between <= SMALL_WORDS and _OUT_OF.match(text, end) else None
    lower = _LOWER.match(text, at)
    if lower is None:
        return None
    words = words_of(lower.group(1)).words
    own = not set(words) <= set(words_of(earlier).words) and COMMON_WORDS.isdisjoint(words)
    return lower.group(1) if own and len(words) <= _MOST else None


def asked_of(subject: str, earlier: Sequence[str]) -> str | None:
    """Return the earlier question, asked of another subject; ``None`` where its own is not plain.

    A turn that itself only named another subject is passed over, for the question before it.

    >>> asked_of("Spain", ["What is the capital of France?", "And of Germany?"])
    'What is the capital of Spain?'
    """
    turns = [turn.strip() for turn in earlier]
    while len(turns) > 1 and subject_of(turns[-1], turns[-2]) is not None:
        turns.pop()
    question = turns[-1] if turns else ""
    runs = names_in(question)
    if not runs:
        found = _OF_WHAT.search(question)
        runs = [found.span(1)] if found is not None else []
    elif _may_begin_before(question, runs[0][0]):
        return None
    if not runs or len({question[start:end] for start, end in runs}) != 1:
        return None
    for start, end in reversed(runs):
        question = question[:start] + subject + question[end:]
    return question


def _may_begin_before(text: str, at: int) -> bool:
    """Tell whether a name may begin with the first word of its sentence: "Marie Curie was"."""
    before = text[:at].rstrip()
    found = re.search(r"[\w'-]+$", before)
    if found is None or before == text[:at]:
        return False
    first = _SENTENCE_BEFORE.search(before, max(0, found.start() - 8), found.start()) is not None
    return first and found.group().lower() not in COMMON_WORDS
