"""Where whole names stand in a text, all of them; see ``subjects`` for the best one and for parts.

Pure, and of names that are already known to be meant: no index is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memedit.indexes.names import names_of, same_word, words_of

Span = tuple[int, int]
"""Places among the words of a text, the end exclusive."""


def name_spans(text: str, subject: str, aliases: Sequence[str] = ()) -> list[Span]:
    """Find every whole name of a subject, aliases included, none within another one of its own.

    >>> name_spans("Is Shingon Buddhism older than Buddhism?", "Buddhism")
    [(2, 3), (5, 6)]
    >>> name_spans("Who rules Paris, France?", "Paris", ["Paris, France"])
    [(2, 4)]
    """
    words = words_of(text).words
    found = {
        (at, at + len(name))
        for name in as_words(names_of(subject, aliases))
        for at in range(len(words) - len(name) + 1)
        if all(map(same_word, words[at : at + len(name)], name))
    }
    return sorted(span for span in found if not any(inside(span, other) for other in found))


def inside(one: Span, other: Span) -> bool:
    """Tell whether a span is a part of another one, and not all of it."""
    return one != other and other[0] <= one[0] and one[1] <= other[1]


def as_words(names: Iterable[str]) -> frozenset[tuple[str, ...]]:
    """Return names as far as case, accents and what stands between words do not matter."""
    return frozenset(words_of(name).words for name in names) - {()}
