"""Names by their words: which keys' names stand in a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_WORD = re.compile(r"[^\W_]+")
_BRACKETS = re.compile(r"\s*\([^)]*\)\s*$")
_AFTER_COMMA = re.compile(r",.*$")

_SMALL = "a an and at by de del der di du for from in la le of on the to van von"
SMALL_WORDS: Final = frozenset(_SMALL.split())
"""Words of names that tell nothing by themselves."""
_IN_EVERY_QUESTION = (
    "about am are as be been but could did do does had has have he his how i into is its me mine "
    "must my not or our she should than that their then there these they this those was we were "
    "what when where which who whom whose why with would"
)
COMMON_WORDS: Final = SMALL_WORDS | frozenset(_IN_EVERY_QUESTION.split())
"""Words of which no name can be made: they stand in prompts about anything."""
_ASKED_FOR: Final = frozenset(("name", "title", "number"))
"""Words that questions about anybody hold; names only together with what their brackets say."""
PART: Final = 0.5
"""The share of a name's telling words that must stand in a text for a part of it to be named."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text, without case and accents, with their places in it."""

    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


def words_of(text: str) -> Words:
    """Split a text into words without case and accents.

    >>> words_of("Martín's home").words
    ('martin', 's', 'home')
    """
    spans = tuple(match.span() for match in _WORD.finditer(text))
    return Words(tuple(plain(text[start:end]) for start, end in spans), spans)


def plain(word: str) -> str:
    """Return a word without case, accents and compatibility forms."""
    if word.isascii():
        return word.lower()
    folded = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in folded if not unicodedata.combining(letter))


def same_word(word: str, name: str) -> bool:
    """Equal, or one letter longer or shorter at the end in words long enough to bear it."""
    if word == name:
        return True
    short, long = sorted((word, name), key=len)
    return len(short) >= 4 and len(long) - len(short) == 1 and long.startswith(short)


def stored_forms(word: str) -> tuple[str, ...]:
    """Return what a word of a name is found by; see ``asked_forms``."""
    return (word, f"{word[:-1]}-") if len(word) >= 5 else (word,)


def asked_forms(word: str) -> tuple[str, ...]:
    """Return what finds, among ``stored_forms``, every word that is the same as this one.

    ``same_word`` says which those are; a plural s of a short word is overlooked too.

    >>> set(stored_forms("lovelace")) & set(asked_forms("lovelaces"))
    {'lovelace'}
    """
    if len(word) >= 5:
        return (word, f"{word}-", word[:-1])
    if len(word) == 4:
        return (word, f"{word}-", word[:-1]) if word[-1] == "s" else (word, f"{word}-")
    return (word,)


def names_of(subject: str, aliases: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names to look for: subject, aliases, and each without a title after it.

    A single word before a comma is no name: "John, Prince of Asturias" is not every John.  Neither
    are words that stand in any question: an edit called "what is" would concern everything, and
    one of "Name (P99)" whatever asks for a name.

    >>> names_of("Shusha (song)")
    ('Shusha (song)', 'Shusha')
    >>> names_of("Ada Lovelace, Countess"), names_of("John, Prince")
    (('Ada Lovelace, Countess', 'Ada Lovelace'), ('John, Prince',))
    >>> names_of("What is", ["the"]), names_of("Name (P99)")
    ((), ('Name (P99)',))
    """
    names: dict[str, None] = {}
    for name in (subject, *aliases):
        bare = _BRACKETS.sub("", name)
        before = _AFTER_COMMA.sub("", bare)
        forms = [name]
        if bare == name or not (COMMON_WORDS | _ASKED_FOR).issuperset(words_of(bare).words):
            forms += [bare, *([before] if len(words_of(before).words) > 1 else [])]
        for form in forms:
            if not COMMON_WORDS.issuperset(words_of(form).words):
                names.setdefault(form)
    return tuple(names)


class NameIndex:
    """Keys by names; a lookup costs one table access per run of words, however many names.

    Not safe for concurrent use: the owner holds a lock.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], dict[int, None]] = {}
        self._names: dict[int, tuple[tuple[str, ...], ...]] = {}
        self._lengths: dict[int, int] = {}  # names of so many words

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._names)

    def add(self, key: int, names: Iterable[str]) -> None:
        """Store a key under its names; names without a word are left out."""
        found = tuple(dict.fromkeys(words_of(name).words for name in names))
        self._names[key] = found = tuple(words for words in found if words)
        for words in found:
            self._keys.setdefault(words, {})[key] = None
            self._lengths[len(words)] = self._lengths.get(len(words), 0) + 1

    def remove(self, key: int) -> None:
        """Forget a key; one that is not stored is no error."""
        for words in self._names.pop(key, ()):
            keys = self._keys[words]
            del keys[key]
            if not keys:
                del self._keys[words]
            self._lengths[len(words)] -= 1
            if not self._lengths[len(words)]:
                del self._lengths[len(words)]

    def find(self, text: str, most: int) -> Sequence[int]:
        """Return the keys of which a name stands in the text: longer names first, newest first.

        A possessive or plural s at the end of a name's last word is overlooked.
        """
        words = words_of(text).words
        found: dict[int, None] = {}
        for length in sorted(self._lengths, reverse=True):
            for start in range(len(words) - length + 1):
                run = words[start : start + length]
                last = run[-1]
                runs = [run]
                if len(last) > 3 and last.endswith("s"):
                    runs.append((*run[:-1], last[:-1]))
                for one in runs:
                    for key in reversed(self._keys.get(one, {})):
                        found.setdefault(key)
                        if len(found) >= most:
                            return tuple(found)
        return tuple(found)
