"""What in a prompt may describe something by a name, by grammar alone: "the author of Dune".

"The birthplace of the author of Dune is" asks nothing that an edit of Dune's author answers, and
leans on it all the same: who asks for the description by itself is told who is meant.  A reading
that the grammar here does not know is missed; what is asked must be more than what is described.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from memedit.scope.pair_input import HIDDEN

_LONGEST: Final = 400
"""Characters of a prompt that is read."""
_MOST: Final = 3
"""Descriptions of one prompt."""

_SAYING_NOTHING = (
    "a about acts an and answer are as at be been being by called can come comes could current "
    "currently did do does exactly find for from full give go goes had has have he held her him "
    "his how i in into is it its know known list listed me name named names nowadays of on or out "
    "please put s say serves she tell than that the their them there these they this those title "
    "to today was were what when where which who whom whose will with would you"
)
_KINDS = (
    "album anyone artist band book business city company corporation country county enterprise "
    "film firm game group island lady man movie nation novel one organisation organization person "
    "place play region river series singer somebody someone song state thing town village woman "
    "work"
)
_PLACES = "city county island region state town village"
_EMPTY: Final = frozenset(f"{_SAYING_NOTHING} {_KINDS}".split())
"""Words that, beside a description, ask for nothing more than what it describes."""
_APPOSED: Final = re.compile(
    rf"the (?:(?:{'|'.join(_KINDS.split())})(?: called| named)?|(?:{'|'.join(_PLACES.split())}) of)"
    r" (?:the )?",
    re.IGNORECASE,
)
"""Before a name: says what kind of thing it names, and describes nothing else."""

_WORD = re.compile(r"[^\W_]+")
_THE = re.compile(r"\bthe\b", re.IGNORECASE)
_OWNED = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}]s((?:\s+[\w-]+){1,4})")
_BEHIND_A_NOUN = (
    "an and are as at by can did do does for from had has have in is like of on or the to was were "
    "what who will with"
)
_NO_NOUN: Final = frozenset(_BEHIND_A_NOUN.split())
_RELATIVE = re.compile(r"\b(?:that|where|which|who|whom|whose)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"\s+(?:(?:is|was|are|were|has|had)\s+)?[\w-]+", re.IGNORECASE)
"""Behind a name: the verb of a relative clause, "was born" or "founded"."""
_NAME_GOES_ON = re.compile(r"[\s-]+[A-Z0-9]|,\s*[A-Z0-9]")
_POLAR = re.compile(r"\W*(?:am|are|can|could|did|do|does|had|has|have|is|was|were|will)\b", re.I)
"""Begins a question for yes or no: "Is the capital of X Lyon?" asks for the capital, in a way."""
_SENTENCES = re.compile(r"[.:;?!]\s+\S")
_STOPS = re.compile(r"[,;:?!()]|\b(?:and|or|but)\b", re.IGNORECASE)


def descriptions(hidden: str) -> tuple[str, ...]:
    """Return what may describe something by a name, as the cloze that asks for it.

    >>> [one.replace(HIDDEN, "Dune") for one in descriptions(f"The author of {HIDDEN} was born in")]
    ['The author of Dune is']

    Args:
        hidden: a prompt with ``HIDDEN`` in the place of the name.

    """
    asked = (cloze_of(hidden[first:last]) for first, last in described(hidden))
    return tuple(dict.fromkeys(asked))[:_MOST]


def described(hidden: str) -> tuple[tuple[int, int], ...]:
    """Return where ``descriptions`` begin and end, the innermost first."""
    start = hidden.find(HIDDEN)
    end = start + len(HIDDEN)
    if start < 0 or len(hidden) > _LONGEST or _NAME_GOES_ON.match(hidden, end):
        return ()
    if _SENTENCES.search(hidden) or (hidden.rstrip().endswith("?") and _POLAR.match(hidden)):
        return ()
    return tuple(
        (first, last)
        for first, last in (*_owned(hidden, start, end), *_of_the(hidden, start, end))
        if not _STOPS.search(hidden[first:last]) and _asks_more(f"{hidden[:first]} {hidden[last:]}")
    )


def cloze_of(phrase: str) -> str:
    """Return the cloze that asks for what a phrase describes.

    >>> cloze_of("the author of Dune")
    'The author of Dune is'
    """
    return f"{phrase[:1].upper()}{phrase[1:]} is"


def _owned(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield "X's mother" or "X's elder brother", as far as it goes."""
    match = _OWNED.match(text, end)
    if match is None:
        return
    last = end
    for word in re.finditer(r"\S+", match[1]):
        if word[0].casefold() in _NO_NOUN:
            break
        last = match.start(1) + word.end()
    if last > end:
        yield start, last


def _of_the(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield "the mother of X", "the city where X was born", the innermost first."""
    for the in reversed([*_THE.finditer(text, 0, start)]):
        before = text[the.start() : start]
        if _STOPS.search(before):
            return
        if _APPOSED.fullmatch(before) or len(before.split()) == 1:
            continue
        relative = _RELATIVE.search(before)
        if relative is None or before[relative.end() :].strip().casefold() not in ("", "the"):
            yield the.start(), end  # "the author of X", "the person who leads X"
        elif (clause := _CLAUSE.match(text, end)) is not None:
            yield the.start(), clause.end()


def _asks_more(rest: str) -> bool:
    """Tell whether words are left that ask; a name that is left may be an answer to choose."""
    return any(
        (word.islower() or place == 0) and word.casefold() not in _EMPTY
        for place, word in enumerate(_WORD.findall(rest))
    )
