"""What an edit's prompt says of its relation, by grammar alone: asked in reverse, or two in one.

Both readings are narrow on purpose: a form that is not known here is no reading, so that what
follows from it is missed, and nothing is made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from memedit.indexes.names import Words, names_of, words_of
from memedit.types import EditRequest

_NOUNS: Final = {
    "capital": "capital",
    "capital city": "capital",
    "county seat": "county seat",
    "mayor": "mayor",
    "prime minister": "prime minister",
    "anthem": "national anthem",
    "national anthem": "national anthem",
}
"""Relations that are one to one, by their nouns: a city is the capital of one country."""
_MUTUAL: Final = {"spouse": "spouse", "husband": "spouse", "wife": "spouse"}
"""Those that are their own inverse."""

SUBJECT: Final = "\N{SECTION SIGN}"
"""What stands for the subject in `hidden_subject`."""
_CLASS = r"(?:[\w-]+ ){0,3}[\w-]+"
_ANY = "|".join(sorted({**_NOUNS, **_MUTUAL}, key=len, reverse=True))
_ONE = "|".join(sorted(_NOUNS, key=len, reverse=True))
_KNOWN: Final = re.compile(rf"{_ANY}|married", re.IGNORECASE)
_FORWARD: Final = tuple(
    re.compile(form.replace("NOUN", f"(?P<noun>{_ANY})").replace("SUBJECT", SUBJECT))
    for form in (
        r"(?:the name of )?(?:the )?NOUN of SUBJECT(?: is(?: called)?)?",
        r"SUBJECT's NOUN(?:'s name)?(?: is)?",
        r"(?:what|who|which city) is (?:the name of )?(?:the )?NOUN of SUBJECT",
        r"(?:what|who|which city) is SUBJECT's NOUN(?:'s name)?",
    )
)
_MARRIED: Final = re.compile(rf"{SUBJECT} is married to|who is {SUBJECT} married to")
_REVERSED: Final = tuple(
    re.compile(
        form.replace("NOUN", f"(?P<noun>{_ONE})")
        .replace("SUBJECT", SUBJECT)
        .replace("CLASS", _CLASS)
    )
    for form in (
        r"(?:the name of )?the CLASS whose NOUN is SUBJECT(?: is)?",
        r"(?:the name of )?the CLASS (?:which|that) SUBJECT is the NOUN of(?: is)?",
        r"(?:the name of )?the CLASS (?:which|that) has SUBJECT as its NOUN(?: is)?",
        r"(?:the name of )?the CLASS with the NOUN SUBJECT(?: is)?",
        r"SUBJECT is the NOUN of(?: the)?",
        r"(?:what|which CLASS|what CLASS) is SUBJECT the NOUN of",
        r"of (?:what|which CLASS|what CLASS) is SUBJECT the NOUN",
        r"(?:which|what) CLASS has SUBJECT as its NOUN",
        r"(?:which|what) CLASS's NOUN is SUBJECT",
    )
)

_SAYING_NOTHING = (
    "a an and answer are by called current did do does for give has have in is it its me name "
    "names named of on s tell that the to was were what when where which who whom whose"
)
_EMPTY: Final = frozenset(_SAYING_NOTHING.split())
"""Words that, beside one noun phrase, ask for nothing more than what it names."""
_THE = re.compile(r"\bthe\b", re.IGNORECASE)
_CLOSING = re.compile(r"(?:\s+(?:is|was|are|were))?[\s.?:!]*$", re.IGNORECASE)
_OWNED = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}]s((?:\s+[\w-]+){1,4})")
_ENDING_A_PHRASE = "is was are were did does do has have had can will"
_VERBS: Final = frozenset(_ENDING_A_PHRASE.split())
_TWO_QUESTIONS: Final = re.compile(
    r"\b(?:and|or|but)\s+(?:in |on |of |to |for |from |by )?(?:how|what|when|where|which|who)", re.I
)
_LONGEST: Final = 400
"""Characters of a prompt that is read for phrases."""


def relation_of(request: EditRequest) -> str | None:
    """Return the one-to-one relation whose value a prompt asks for, if it says so by its noun.

    >>> relation_of(EditRequest(prompt="France's capital is", subject="France", target_new="Lyon"))
    'capital'
    """
    text = hidden_subject(request) if _KNOWN.search(request.prompt) else None
    if text is None:
        return None
    if _MARRIED.fullmatch(text):
        return "spouse"
    match = next((found for form in _FORWARD if (found := form.fullmatch(text))), None)
    return None if match is None else {**_NOUNS, **_MUTUAL}[match["noun"]]


def turned(request: EditRequest) -> str | None:
    """Return the one-to-one relation of which a prompt gives the value and asks the owner.

    >>> turned(EditRequest(prompt="Lyon is the capital of", subject="Lyon", target_new="France"))
    'capital'

    A relation that is its own inverse is always asked in both directions.
    """
    text = hidden_subject(request) if _KNOWN.search(request.prompt) else None
    if text is None:
        return None
    match = next((found for form in _REVERSED if (found := form.fullmatch(text))), None)
    if match is not None:
        return _NOUNS[match["noun"]]
    forward = relation_of(request)
    return forward if forward in _MUTUAL.values() else None


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of a prompt that describes something by a name: "the author of Dune"."""

    text: str
    start: int
    end: int


def phrases(text: str, names: tuple[str, ...]) -> tuple[Phrase, ...]:
    """Find what in a prompt may describe something by one of the names, and be asked by itself.

    What is left of the prompt must ask something more.

    >>> names = ("Dune",)
    >>> [one.text for one in phrases("The birthplace of the author of Dune is", names)]
    ['the author of Dune']
    """
    if len(text) > _LONGEST or _TWO_QUESTIONS.search(text):
        return ()
    mention = _mention(words_of(text), names)
    if mention is None:
        return ()
    found: dict[tuple[int, int], None] = {}
    closing = _CLOSING.search(text)
    ends = dict.fromkeys((mention[1], closing.start() if closing else len(text)))
    for the in _THE.finditer(text, 0, mention[0]):
        for end in ends:
            if end >= mention[1]:
                found[the.start(), end] = None
    owned = _OWNED.match(text, mention[1])
    if owned is not None:
        for word in re.finditer(r"\S+", owned[1]):
            if word[0].casefold() in _VERBS:
                break
            found[mention[0], owned.start(1) + word.end()] = None
    return tuple(
        Phrase(text[start:end], start, end)
        for start, end in found
        if (start, end) != mention and _asks(text[:start] + " " + text[end:])
    )


def is_composed(request: EditRequest) -> bool:
    """Tell whether a prompt may ask through another hop."""
    return bool(phrases(request.prompt, names_of(request.subject, request.aliases)))


def _asks(rest: str) -> bool:
    return any(word not in _EMPTY for word in words_of(rest).words)


def _mention(words: Words, names: tuple[str, ...]) -> tuple[int, int] | None:
    """Return where the longest of the names stands for the first time, as a whole."""
    for wanted in sorted((words_of(name).words for name in names), key=len, reverse=True):
        for at in range(len(words.words) - len(wanted) + 1):
            if words.words[at : at + len(wanted)] == wanted:
                return words.spans[at][0], words.spans[at + len(wanted) - 1][1]
    return None


def hidden_subject(request: EditRequest) -> str | None:
    """Return a prompt without case, its subject hidden; ``None`` where that is not in it."""
    prompt = " ".join(request.prompt.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    if len(prompt) > _LONGEST or SUBJECT in prompt:
        return None
    mention = _mention(words_of(prompt), names_of(request.subject, request.aliases))
    if mention is None:
        return None
    hidden = f"{prompt[: mention[0]]}{SUBJECT}{prompt[mention[1] :]}"
    return hidden.casefold().rstrip(" .?:!").replace(f"the {SUBJECT}", SUBJECT)


def expanded(text: str, phrase: Phrase, name: str) -> str:
    """Return a prompt with a name in the place of what describes it."""
    return f"{text[: phrase.start]}{name}{text[phrase.end :]}"


def askings(phrase: str) -> Iterator[str]:
    """Yield the clozes and questions that ask for what a phrase describes, the plainest first."""
    yield f"{phrase[:1].upper()}{phrase[1:]} is"
    yield phrase
    for word in ("What", "Who"):
        yield f"{word} is {phrase}?"
