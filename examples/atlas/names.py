"""Invented names: people, towns, companies, works and words that mean nothing elsewhere.

The same generator names the inhabitants of the world and the strangers that the model must
not know, so that nothing in the shape of a name tells one from the other.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"
KINDS = ("person", "city", "company", "work", "river", "country", "word", "phone", "language")


@cache
def words(section: str) -> dict[str, tuple[str, ...]]:
    """The word lists of a section of data/words.json."""
    lists = json.loads((DATA / "words.json").read_text(encoding="utf-8"))[section]
    return {name: tuple(items) for name, items in lists.items()}


def _syllable(rng: random.Random) -> str:
    lists = words("names")
    return rng.choice(lists["onsets"]) + rng.choice(lists["vowels"]) + rng.choice(lists["codas"])


def stem(rng: random.Random, syllables: int = 1) -> str:
    """A lower-case stem of `syllables` random syllables and an ending."""
    return "".join(_syllable(rng) for _ in range(syllables)) + rng.choice(words("names")["ends"])


def invent(kind: str, rng: random.Random) -> str:
    """A fresh name of the given kind.

    Raises:
        ValueError: for a kind that is not in `KINDS`.
    """
    if kind == "person":
        return f"{stem(rng).capitalize()} {stem(rng, rng.choice((1, 1, 1, 2))).capitalize()}"
    if kind == "city":
        return (_syllable(rng) + rng.choice(("", _syllable(rng)))).capitalize() + rng.choice(
            words("names")["town_ends"]
        )
    if kind == "company":
        return f"{stem(rng).capitalize()} {rng.choice(words('names')['firms'])}"
    if kind == "work":
        return (
            f"The {rng.choice(words('names')['adjectives'])} {rng.choice(words('names')['nouns'])}"
        )
    if kind == "river":
        return (_syllable(rng) + rng.choice(words("names")["river_ends"])).capitalize()
    if kind == "country":
        return stem(rng).capitalize() + rng.choice(("land", "ia", "stan", "mark", "onia"))
    if kind == "language":
        return stem(rng).capitalize() + rng.choice(("ish", "ese", "i", "ic"))
    if kind == "word":
        return stem(rng)
    if kind == "phone":
        return f"{rng.randrange(10, 100)}-{rng.randrange(1000, 10000)}"
    raise ValueError(f"cannot invent a {kind!r}; expected one of {', '.join(KINDS)}")
