"""What an edit says of its target: "Ann's mother is Bea Lund" tells who Bea's child is, too.

By grammar alone, of relations whose inverse has a name: kin, offices, founders, what follows what.
A prompt of another form has no inverse here; nothing is made up.  What is said is true of the
target and need not be all: the child may have a sister.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from memedit.indexes.names import COMMON_WORDS, words_of
from memedit.memory.relations import SUBJECT, hidden_subject
from memedit.types import EditRequest, Operation

_MOST_WORDS: Final = 12
"""Of a target that can be a name."""

_OFFICES: Final = (
    "capital",
    "capital city",
    "county seat",
    "mayor",
    "governor",
    "president",
    "prime minister",
    "chancellor",
    "head of state",
    "head of government",
    "king",
    "queen",
    "leader",
    "national anthem",
    "anthem",
    "chief executive officer",
    "ceo",
    "chairperson",
    "head coach",
    "manager",
    "captain",
)
"""Nouns that are read backwards as they are: "Bea is the mayor of"."""
_NOUNS: Final = (
    ("spouse|husband|wife|partner", "spouse"),
    ("brother or sister|brother|sister|sibling", "sibling"),
    ("father|mother|parent|dad|mom|mum", "child"),
    ("child|son or daughter|son|daughter", "parent"),
    ("twin city|twin town|sister city", "twin city"),
    ("successor", "predecessor"),
    ("predecessor", "successor"),
)
"""Nouns, and that by which they are read backwards: "The child of Bea is"."""
_VERBS: Final = (
    (("S is married to", "who is S married to", "who is married to S", "to whom is S married",
      "the person married to S is"), "spouse"),
    (("who fathered S", "who gave birth to S"), "child"),
    (("S is followed by", "what follows S", "what is S followed by", "what comes after S"),
     ("{y} follows", "What does {y} follow?")),
    (("S follows", "what does S follow", "what comes before S"),
     ("{y} is followed by", "What follows {y}?")),
    (("S was replaced by", "who replaced S", "what replaced S"),
     ("{y} replaced", "Who did {y} replace?")),
    (("S replaced", "who did S replace", "what did S replace"),
     ("{y} was replaced by", "Who replaced {y}?")),
    (("S was founded by", "who founded S", "who was S founded by", "by whom was S founded",
      "the founder of S is", "the founder of S was", "who is the founder of S",
      "who was the founder of S"), ("{y} founded", "What did {y} found?")),
    (("S founded", "what did S found"), ("{y} was founded by", "Who founded {y}?")),
    (("S is led by", "who leads S", "who is S led by", "S is headed by", "who heads S"),
     ("{y} leads", "What does {y} lead?")),
    (("S leads", "what does S lead", "S heads", "what does S head"),
     ("{y} is led by", "Who leads {y}?")),
)  # fmt: skip
"""Whole prompts, S being the subject, with the noun, or cloze and question, that reverse them."""

_NOUN_FORMS: Final = (
    r"(?:the )?(?:name of )?(?:the )?NOUN of S(?: is(?: called)?| was)?(?: whom?| what)?",
    r"S(?:'s?)? NOUN(?:'s name)?(?: is| was)?(?: whom?| what)?",
    r"(?:what|who|which \w+) (?:is|was)(?: listed as| known as| called)? (?:the )?(?:name of )?"
    r"(?:the )?NOUN of S",
    r"(?:what|who|which \w+) (?:is|was)(?: listed as| known as| called)? (?:the name of )?"
    r"S(?:'s?)? NOUN(?:'s name)?",
    r"the (?:person|man|woman|one) (?:that|who) (?:is|was) (?:the )?NOUN of S (?:is|was)"
    r"(?: whom?)?",
    r"(?:can you )?(?:name|tell me) (?:the )?NOUN of S",
)
_OFFICE_REVERSED: Final = (
    r"S (?:is|was) (?:the )?NOUN of(?: the)?",
    r"(?:what|which [\w ]+) (?:is|was) S (?:the )?NOUN of",
    r"of (?:what|which [\w ]+) (?:is|was) S (?:the )?NOUN",
    r"(?:the )?(?:name of the )?[\w ]+ whose NOUN is S(?: is)?",
    r"(?:the )?(?:name of the )?[\w ]+ (?:that|which) S is the NOUN of(?: is)?",
    r"(?:which|what) [\w ]+ has S as its NOUN",
)


Reading = tuple[str, str]
"""How a relation is asked from its other end: a cloze and a question, with ``{y}`` the target."""


def _of_noun(noun: str) -> Reading:
    who = "What" if noun in ("twin city", "successor", "predecessor") else "Who"
    return f"The {noun} of {{y}} is", f"{who} is the {noun} of {{y}}?"


def _of_office(noun: str) -> Reading:
    return f"{{y}} is the {noun} of", f"What is {{y}} the {noun} of?"


def _patterns(forms: Iterable[str], nouns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    noun = "|".join(sorted(nouns, key=len, reverse=True))
    return tuple(
        re.compile(re.sub(r"\bS\b", SUBJECT, form).replace("NOUN", f"(?P<noun>{noun})"))
        for form in forms
    )


_BY_NOUN: Final = MappingProxyType(
    {noun: _of_office(noun) for noun in _OFFICES}
    | {noun: _of_noun(inverse) for nouns, inverse in _NOUNS for noun in nouns.split("|")}
)
_BY_PROMPT: Final = MappingProxyType(
    {
        re.sub(r"\bS\b", SUBJECT, form): _of_noun(read) if isinstance(read, str) else read
        for forms, read in _VERBS
        for form in forms
    }
)
_OF_PEOPLE: Final = frozenset(_of_noun(noun) for noun in ("spouse", "sibling", "child", "parent"))
"""Not read of targets of one word: "David" is no more than a part of most names it stands in."""
_FORWARD: Final = _patterns(_NOUN_FORMS, _BY_NOUN)
_REVERSED: Final = _patterns(_OFFICE_REVERSED, _OFFICES)


def _reading(asked: str) -> Reading | None:
    """Return how a prompt, its subject hidden, is asked from its other end."""
    if asked in _BY_PROMPT:
        return _BY_PROMPT[asked]
    for pattern in _FORWARD:
        if found := pattern.fullmatch(asked):
            return _BY_NOUN[found["noun"]]
    for pattern in _REVERSED:
        if found := pattern.fullmatch(asked):
            return f"The {found['noun']} of {{y}} is", f"What is the {found['noun']} of {{y}}?"
    return None


def inverse_of(request: EditRequest) -> EditRequest | None:
    """Return the edit that a request implies about its target; ``None`` where none is known.

    Its subject is the target, its target the subject.  Erased facts have none.

    >>> made = inverse_of(
    ...     EditRequest(prompt="Who was Ann's mother?", subject="Ann", target_new="Bea Lund")
    ... )
    >>> made.subject, made.plain_statement(), *made.rephrases
    ('Bea Lund', 'The child of Bea Lund is Ann.', 'Who is the child of Bea Lund?')
    """
    if request.operation is Operation.ERASE:
        return None
    subject, target = request.subject, request.target_new.rstrip(" .")
    words = words_of(target).words
    if not 0 < len(words) <= _MOST_WORDS or COMMON_WORDS.issuperset(words):
        return None
    if words == words_of(subject).words:
        return None
    asked = hidden_subject(request)
    reading = None if asked is None else _reading(asked)
    if reading is None or (len(words) == 1 and reading in _OF_PEOPLE):
        return None
    cloze, question = (text.replace("{y}", target) for text in reading)
    return EditRequest(
        prompt=cloze,
        subject=target,
        target_new=subject,
        operation=request.operation,
        rephrases=(question,),
    )
