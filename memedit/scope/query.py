"""Which texts to search for a query: what it asks, and what it leans on.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memedit.scope.follow_up import OPENERS, asked_of, asks_why, new_names, subject_of
from memedit.scope.pronouns import SAYS_NOTHING
from memedit.types import QueryText

WINDOW = 600
"""Characters of one window: about 150 tokens, well within what an encoder reads of a text."""

SHORT = 4
"""A question of at most so many words may lean on the turn before it without any pronoun."""
BACK = 6
"""Turns of the user that are looked back on, at most."""
REASON = 3
"""A question of at most so many words that asks why asks it of the answer: "But why Lyon?"."""

_PRONOUNS = re.compile(
    r"\b(?:it|its|it's|itself|he|him|his|she|her|hers|they|them|their|theirs|this one|that one"
    r"|these|those|there|the same|the former|the latter|the other|the first one|the second one)\b",
    re.IGNORECASE,
)
_DEMONSTRATIVE = re.compile(
    r"\b(?:this|that)\s+(?:country|city|place|person|man|woman|company|band|team|book|film|movie"
    r"|song|album|one|state|language|river|event|war|year|game|building|species|product)\b",
    re.IGNORECASE,
)
_NODS = re.compile(
    r"(?:(?:thank you|thanks|thx|ok|okay|great|cool|nice|good|yes|yeah|no|sure|i see|got it|hm+|wow"
    r"|very|so much|a lot|perfect|right|alright|interesting)[\s,.!]*)+$",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w'-]*|\d{3,}|[\"“«]")
_BORDER = re.compile(r"(?<=[.!?。！？])\s+|\n+")  # noqa: RUF001


def search_texts(query: QueryText) -> tuple[str, ...]:
    """Return the texts to encode for one query; the best of them decides.

    - the text itself, when it fits into one window;
    - of a long one its head and its tail, cut at sentence borders: what is asked stands before or
      after what was pasted, and an encoder that cuts the end would never see the latter;
    - if it leans on earlier turns, also the ``standing`` one of those joined with it;
    - if it asks for the reason of the answer ("But why Lyon?"), also that earlier one by itself: it
      is still about what was asked;
    - if all it says is another subject ("And of Germany?"), only the earlier question asked of
      that, or the text alone where the question does not show which words to replace.

    Returns:
        At least one text, none twice, each at most ``WINDOW`` characters.

    """
    text = query.text.strip()
    texts = [text] if len(text) <= WINDOW else [head(text), tail(text), *last_sentence(text)]
    if leans(query):
        earlier = standing(query.context)
        subject = None if points_back(text) else subject_of(text, earlier)
        if subject is not None:
            return (tail(asked_of(subject, query.context) or text),)
        if _asks_for_the_reason(text):
            return tuple(dict.fromkeys((*texts, tail(earlier))))
        texts.append(f"{tail(earlier, WINDOW - 1 - len(text))} {text}".strip())
    return tuple(dict.fromkeys(texts))


def leans(query: QueryText) -> bool:
    """Tell whether the text can only be understood with the turns before it.

    A word that points back ("its", "that country"), a beginning that continues ("and in 2010?"),
    or a question of a few words ("Capital?"); thanks lean on nothing.  A text that names
    something itself does not lean on a pronoun that follows the name ("Where did Ada Lovelace
    live when she was young?"), nor does one that continues with a name of its own ("And who wrote
    Emma?"); one that says nothing but a name does ("And Emma?").
    """
    text = query.text.strip()
    if not text or not query.context or len(text) > WINDOW // 2:
        return False
    bare = SAYS_NOTHING.sub(" ", text)
    opener = OPENERS.match(text)
    if opener is not None:
        earlier = standing(query.context)
        names = new_names(text, earlier)
        if not names or points_back(text[: names[0][0]]):
            return True
        if _asks_for_the_reason(text):
            return True
        return subject_of(text, earlier) is not None
    back = _back(bare)
    if back is not None:
        return _NAME.search(bare, 0, back.start()) is None
    return text.endswith("?") and len(text.split()) <= SHORT and _NAME.search(text) is None


def standing(context: Sequence[str]) -> str:
    """Return what a text may lean on of the turns before it, of which there is one at least.

    The last one that says by itself what it is about.  Thanks and nods are passed over, and so are
    turns that lean themselves, but for one that names another subject: that is the earlier question
    asked of it.

    >>> standing(["What is the capital of Peru?", "And its currency?", "Thanks!"])
    'What is the capital of Peru?'
    >>> standing(["What is the capital of Peru?", "And of Chile?"])
    'What is the capital of Chile?'
    """
    turns = [turn.strip() for turn in context[-BACK:]]
    while turns:
        turn = turns.pop()
        if _NODS.match(turn):
            continue
        if not turns or not leans(QueryText(turn, tuple(turns))):
            return turn
        subject = None if points_back(turn) else subject_of(turn, standing(turns))
        if subject is not None:
            return asked_of(subject, turns) or turn
    return context[-1].strip()


def _asks_for_the_reason(text: str) -> bool:
    return asks_why(text) and len(text.split()) <= REASON


def points_back(text: str) -> bool:
    """Tell whether a word of the text stands for something said before ("its", "that country")."""
    return _back(SAYS_NOTHING.sub(" ", text)) is not None


def _back(bare: str) -> re.Match[str] | None:
    return _PRONOUNS.search(bare) or _DEMONSTRATIVE.search(bare)


def head(text: str, size: int = WINDOW) -> str:
    """Return the beginning of a text, at most ``size`` characters, whole sentences if it can."""
    if len(text) <= size:
        return text
    ends = [found.start() for found in _BORDER.finditer(text, 0, size + 1)]
    cut = next((end for end in reversed(ends) if 0 < end <= size), 0)
    if not cut:
        space = text.rfind(" ", 0, size + 1)
        cut = space if space > 0 else size
    return text[:cut].rstrip()


def tail(text: str, size: int = WINDOW) -> str:
    """Return the end of a text, at most ``size`` characters, whole sentences if it can."""
    if size <= 0:
        return ""
    if len(text) <= size:
        return text
    start = len(text) - size
    found = _BORDER.search(text, max(0, start - 1))
    if found is not None and start <= found.end() < len(text):
        return text[found.end() :]
    space = text.find(" ", start)
    return text[space + 1 :] if 0 <= space < len(text) - 1 else text[start:]


def last_sentence(text: str) -> tuple[str, ...]:
    """Return the last sentence of a long text by itself: most often it is the question."""
    start = 0
    for found in _BORDER.finditer(text, max(0, len(text) - WINDOW)):
        if found.end() < len(text):
            start = found.end()
    sentence = text[start:].strip()
    return (sentence,) if start and 0 < len(sentence) <= WINDOW else ()
