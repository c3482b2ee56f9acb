"""Where a prompt names the subject of an edit: by its letters, before any model is asked.

Cosine similarity confuses subjects of one kind ("Bob Marley" beside "Bob Ross"); letters do not.
What the prompt asks about the subject is another question: see ``pair``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Self

from memedit.indexes.names import (
    PART,
    SMALL_WORDS,
    Words,
    asked_forms,
    names_of,
    same_word,
    stored_forms,
    words_of,
)

_LONG_ENOUGH = 5
"""Letters of a word that may have one wrong: "Mark" and "Mary" are two names."""
_ALONE = 8
"""The same of a name's only word."""
_BEGINS = 3
"""Letters of a name's only word that have to be right: that word is found by them."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A span of a prompt that names a subject."""

    start: int
    end: int
    coverage: float
    """The share of the name's words that stand there, in (0, 1]; 1 for the whole name."""
    mistyped: bool = False
    """Whether one of the words has a letter wrong."""

    def gives_way_to(self, other: Mention) -> bool:
        """Tell whether this is another's name with a letter wrong, which the other has right."""
        apart = self.end <= other.start or other.end <= self.start
        return self.mistyped and not other.mistyped and other.coverage == 1 and not apart


@dataclass(frozen=True, slots=True)
class KnownBy:
    """What a text is searched for to find a subject; made once, since it costs more than a search.

    ``KnownBy.of`` makes it.
    """

    names: tuple[str, ...]
    """As ``names_of`` returns them."""
    forms: frozenset[str]
    """The ``stored_forms`` of their words."""

    @classmethod
    def of(cls, subject: str, aliases: Sequence[str] = ()) -> Self:
        """Read the names."""
        names = names_of(subject, aliases)
        split = [words_of(name).words for name in names]
        words = {word for name in split for word in name}
        forms = {form for word in words for form in stored_forms(word)}
        alone = {words[0] for words in split if len(words) == 1}
        forms |= {_beginning(word) for word in alone if len(word) >= _ALONE}
        return cls(names, frozenset(forms))

    def may_stand_in(self, asked: Set[str]) -> bool:
        """Tell whether ``find_mention`` can find anything in a text; ``False`` is certain.

        But for a name of one word that has one of its first letters wrong.

        Args:
            asked: the ``asked_forms`` of the text's words.

        """
        return not self.forms.isdisjoint(asked)


def forms_asked(text: Words) -> Set[str]:
    """Return the ``asked_forms`` of a text's words."""
    forms = {form for word in text.words for form in asked_forms(word)}
    return forms.union(_beginning(word) for word in text.words if len(word) >= _ALONE - 1)


def _beginning(word: str) -> str:
    return f"{word[:_BEGINS]}~"


def find_mention(text: Words, names: Iterable[str]) -> Mention | None:
    """Find the best mention of any of the names: the whole name, else the largest part of it.

    Of whole names the longest wins, and of its mentions the first.  Where none stands there as it
    is written, one does of several words of which one has a letter wrong.
    """
    best: Mention | None = None
    size = 0
    wanted = [words_of(name).words for name in names]
    for words in wanted:
        found = _whole(text, words, same_word)
        if found is not None and (best is None or len(words) > size):
            best, size = found, len(words)
    if best is not None:
        return best
    for words in wanted:
        found = _mistyped(text, words)
        if found is not None and len(words) > size:
            best, size = found, len(words)
    if best is not None:
        return best
    for words in wanted:
        part = _part(text, words)
        if part is not None and (best is None or part.coverage > best.coverage):
            best = part
    return best


def left_behind(last: Words, asked: Set[str], known: Sequence[KnownBy | None]) -> tuple[bool, ...]:
    """Tell of which subjects a conversation that had them has gone on to another one of them.

    Args:
        last: the words of the last turn.
        asked: their ``asked_forms``.
        known: what each edit is known by, ``None`` where by nothing.

    Returns:
        For each whether the last turn does not name it, and names another one by its whole name.

    """
    found = [
        find_mention(last, one.names) if one is not None and one.may_stand_in(asked) else None
        for one in known
    ]
    moved = any(mention is not None and mention.coverage == 1 for mention in found)
    return tuple(
        moved and one is not None and mention is None
        for one, mention in zip(known, found, strict=True)
    )


def _whole(
    text: Words, wanted: tuple[str, ...], same: Callable[[str, str], bool]
) -> Mention | None:
    first, count = wanted[0], len(wanted)
    for at, word in enumerate(text.words):
        if not same(word, first) or at + count > len(text.words):
            continue
        if all(same(*pair) for pair in zip(text.words[at : at + count], wanted, strict=True)):
            return Mention(text.spans[at][0], text.spans[at + count - 1][1], 1.0)
    return None


def _mistyped(text: Words, wanted: tuple[str, ...]) -> Mention | None:
    """Find a name of which one word has a letter wrong, and another stands there as it is."""
    telling = [word for word in wanted if word not in SMALL_WORDS]
    # of a single word nothing beside it would say that "Zambia" means "Gambia"
    shortest = _LONG_ENOUGH if len(telling) > 1 else _ALONE
    for wrong in telling:
        if len(wrong) >= shortest:
            found = _whole(
                text,
                wanted,
                lambda word, name, wrong=wrong: (
                    same_word(word, name)  # type: ignore[misc]
                    or (name == wrong and mistyped(word, name))
                ),
            )
            if found is not None:
                return replace(found, mistyped=True)
    return None


def mistyped(word: str, name: str) -> bool:
    """Tell whether a word is a longer word of a name with one letter wrong, missing, or too many.

    Two neighbours that changed places count as one, too.

    >>> mistyped("einstien", "einstein"), mistyped("epstein", "einstein"), mistyped("mary", "mark")
    (True, False, False)
    """
    if min(len(word), len(name)) < _LONG_ENOUGH or abs(len(word) - len(name)) > 1:
        return False
    if word == name or not (word.isalpha() and name.isalpha()):
        return False
    at = next((i for i, (a, b) in enumerate(zip(word, name, strict=False)) if a != b), None)
    if at is None:
        return True  # a letter too many, or missing, at the end
    if len(word) == len(name):
        swapped = word[at : at + 2] == name[at : at + 2][::-1]
        return word[at + 1 :] == name[at + 1 :] or (swapped and word[at + 2 :] == name[at + 2 :])
    short, long = sorted((word, name), key=len)
    return short[at:] == long[at + 1 :]


def _part(text: Words, wanted: tuple[str, ...]) -> Mention | None:
    """Find the densest stretch of the text that holds enough of the name's words."""
    telling = [word for word in wanted if word not in SMALL_WORDS]
    if not telling:
        return None
    places = [
        (at, next((name for name in telling if same_word(word, name)), None))
        for at, word in enumerate(text.words)
    ]
    hits = [(at, name) for at, name in places if name is not None]
    best: tuple[float, int, int] | None = None
    for i, (first, _) in enumerate(hits):
        seen: set[str] = set()
        for at, name in hits[i:]:
            if at - first > len(wanted) + 1:
                break
            seen.add(name)
            share = len(seen) / len(telling)
            if best is None or (share, first - at) > (best[0], best[1] - best[2]):
                best = (share, first, at)
    if best is None or best[0] < PART:
        return None
    share, first, last = best
    return Mention(text.spans[first][0], text.spans[last][1], min(share, 0.99))


def other_names(text: str, words: Words, mention: Mention, names: Iterable[str]) -> tuple[int, int]:
    """Tell whether a capitalised word that is of none of the names stands right before, or after.

    Both speak against a part of a name: "Bob Marley" names a part of "Bob Ross", and somebody else.
    The first word of the text says nothing before a name, since it is always capitalised.

    Args:
        text: the text.
        words: its words.
        mention: where it names a part.
        names: all names of the subject.

    Returns:
        Before and after, 0 or 1 each.

    """
    own = {word for name in names for word in words_of(name).words}
    inside = [
        at
        for at, (start, end) in enumerate(words.spans)
        if start >= mention.start and end <= mention.end
    ]

    def other(at: int, gap: str) -> int:
        capital = text[words.spans[at][0]].isupper()
        return int(capital and gap in (" ", "-") and words.words[at] not in own)

    before = after = 0
    if inside and inside[0] > 1:
        before = other(inside[0] - 1, text[words.spans[inside[0] - 1][1] : mention.start])
    if inside and inside[-1] + 1 < len(words.spans):
        after = other(inside[-1] + 1, text[mention.end : words.spans[inside[-1] + 1][0]])
    return before, after
