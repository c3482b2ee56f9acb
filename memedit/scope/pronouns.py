"""Turns that leave their subject out, with a name put in: "And its currency?", of Peru.

Pure, and for English.
"""

from __future__ import annotations

import re

from memedit.indexes.names import COMMON_WORDS, words_of

KINDS = (
    "country|city|town|village|place|person|man|woman|guy|company|firm|band|team|club|book|film"
    "|movie|song|album|one|state|language|river|event|war|year|game|building|species|product|school"
    "|university|series|show|app|service|drug|animal|car|model"
)
"""What "that country", "this company" name again."""
_OWNED = re.compile(r"\b(?:its|his|their)\b", re.IGNORECASE)
_HER = re.compile(
    r"\bher\b(?=\s+(?!(?:is|was|in|at|on|to|by|from|with|for|and|or|as)\b)[a-z])", re.I
)
_SHORT_IS = re.compile(r"\b(?:it|he|she)['’]s\b", re.IGNORECASE)  # noqa: RUF001
_ITSELF = re.compile(
    rf"\b(?:itself|himself|herself|it|he|him|she|her|they|them|(?:this|that)\s+(?:{KINDS}))\b",
    re.IGNORECASE,
)
_THERE = re.compile(r"\bthere\b", re.IGNORECASE)
SAYS_NOTHING = re.compile(
    r"\b(?:is it (?:true|possible|safe|ok|okay|correct|right)|it is (?:said|true|possible)"
    r"|what time is it|is there|are there|there (?:is|are|was|were))\b",
    re.IGNORECASE,
)
"""An "it" or "there" that stands for nothing said before."""
_NOUN = re.compile(
    r"(?:(?:and|or|but|so|then|also|what about|how about|same for),?\s+)*"
    r"(?:what(?:['’]s| is| are| was| were)\s+)?"  # noqa: RUF001
    r"(?P<noun>the\s+[a-z][\w '-]{1,60}?)(?:,?\s+(?:then|please|though|too))?[\s.?!]*$",
    re.IGNORECASE,
)
_BARE = re.compile(r"(?P<noun>[^\W\d_]+(?: [^\W\d_]+){0,2})\?$")
_LONGEST = 6
"""Words of a noun that stands for a whole question: "And the head of its government?"."""
_CHECKED = re.compile(
    r"(?:(?:and|or|but|so),?\s+)*(?:is|was|isn['’]t|wasn['’]t)\s+(?:it|he|she|that)\b"  # noqa: RUF001
    r"(?=\s+(?:an?|the|really|still|not|just|only|actually)\b|\s+(?-i:[A-Z])|\s+[\d\"'“]|[\s.?!]*$)",
    re.IGNORECASE,
)
"""How a turn begins that asks whether something is the answer: "And is it Lyon?"."""
_PERSON = re.compile(r"\b(?:he|him|his|she|her|himself|herself)\b", re.IGNORECASE)
_ASKS_WHO = re.compile(r"\bwho(?:m|se)?\b", re.IGNORECASE)


def with_name(turn: str, name: str) -> str | None:
    """Return a turn with a name where it leaves one out; ``None`` where it shows no place for it.

    Only the first place is filled, so that the name stands there once.

    >>> with_name("And its currency?", "Peru"), with_name("Where did she die?", "Ada")
    ("And Peru's currency?", 'Where did Ada die?')
    >>> with_name("And the currency?", "Peru"), with_name("Who married her?", "Ada")
    ('And the currency of Peru?', 'Who married Ada?')
    >>> with_name("Since when?", "Peru"), with_name("And is it Lyon?", "Peru")
    (None, None)
    """
    if _CHECKED.match(turn.strip()) and not SAYS_NOTHING.match(turn.strip()):
        return None
    bare = SAYS_NOTHING.sub(lambda found: " " * len(found.group()), turn)
    places = [
        (found.start(), found.end(), put)
        for pattern, put in (
            (_OWNED, f"{name}'s"),
            (_HER, f"{name}'s"),
            (_SHORT_IS, f"{name} is"),
            (_ITSELF, name),
            (_THERE, f"in {name}"),
        )
        for found in pattern.finditer(bare)
    ]
    if places:
        # of two that begin together the more telling was looked for first
        start, end, put = min(places, key=lambda place: place[0])
        return turn[:start] + put + turn[end:]
    noun = _NOUN.match(turn.strip())
    if noun is None:
        noun = _BARE.match(turn.strip())
        if noun is None or not COMMON_WORDS.isdisjoint(words_of(noun["noun"]).words):
            return None
    words = words_of(noun["noun"]).words
    if len(words) > _LONGEST or COMMON_WORDS.issuperset(words):
        return None
    stripped = turn.strip()
    return f"{stripped[: noun.end('noun')]} of {name}{stripped[noun.end('noun') :]}"


def may_mean_the_answer(turn: str, earlier: str) -> bool:
    """Tell whether a pronoun may stand for whoever the earlier question asks for.

    >>> may_mean_the_answer("How old is he?", "Who is the mayor of Oslo?")
    True
    """
    return _PERSON.search(turn) is not None and _ASKS_WHO.search(earlier) is not None
