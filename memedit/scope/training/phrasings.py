"""A table of relations, each in many ways of asking or stating it.

The benchmarks give a fact one cloze and one paraphrase, and call other clozes about its subject
unrelated.  What is learnt of that alone takes any cloze in other words for another relation
("The place of birth of X is" beside "The birthplace of X is").  The table says which words mean
the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError
from memedit.scope.pair_input import HIDDEN

_NOUN_FORMS = (
    "The {noun} of {s} is",
    "The {noun} of {s} is",
    "{s}'s {noun} is",
    "The {noun} of {s} was",
    "The name of the {noun} of {s} is",
    "What is the {noun} of {s}?",
    "What is {s}'s {noun}?",
    "Tell me the {noun} of {s}.",
    "Could you tell me {s}'s {noun}?",
    "{s}, {noun}",
    "{noun} of {s}",
)
_ONCE_OUT_OF = 12
"""One relation in so many, and of the others one text in so many, is kept for measuring."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation in many words; each text has ``{s}`` for the subject.

    The fields are those of ``phrasings.json``.
    """

    name: str
    about: str
    nouns: tuple[str, ...]
    """Without article: "place of birth"."""
    clauses: tuple[str, ...]
    """Statements that end right before the answer."""
    questions: tuple[str, ...]
    yes_no: tuple[str, ...]
    """With ``{o}`` for the answer asked about."""
    objects: tuple[str, ...]
    fragments: tuple[str, ...]
    near: tuple[str, ...]
    """Prompts about the same kind of subject that ask something else."""
    overlaps: frozenset[str]
    """Relations that may mean the same."""
    left_out: frozenset[str] = frozenset()
    """Wordings (see ``plain``) of other people's tests, which no training may see."""

    @property
    def held_out(self) -> bool:
        """Whether the relation is kept for measuring."""
        return _share(self.name)


def _share(text: str) -> bool:
    return hashlib.sha256(text.casefold().encode()).digest()[1] % _ONCE_OUT_OF == 0


def read_phrasings(path: Path | None = None, *, further: bool = True) -> list[Relation]:
    """Read a table of relations; ``None``: the one that comes with memedit.

    Args:
        path: a table of the user's own.
        further: with what memedit's own also has: freer wordings (``further_phrasings.json``), and
            relations of products, services, rules and offices (``everyday_phrasings.json``).

    Raises:
        DatasetError: it is missing or not of its form.

    """
    try:
        if path is not None:
            return _relations_of(json.loads(path.read_text(encoding="utf-8")))
        rows = json.loads(_own("phrasings.json"))
        if further:
            for name, more in json.loads(_own("further_phrasings.json")).items():
                row = rows["relations"][name]
                for field, texts in more.items():
                    row[field] = [*row[field], *texts]
            rows["relations"] |= json.loads(_own("everyday_phrasings.json"))
        return _relations_of(rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"cannot read the phrasings {path or 'that come with memedit'}: {error!r}; expected a "
            "JSON object with relations (each with nouns, clauses, questions, ...) and left_out"
        ) from error


def _own(name: str) -> str:
    return resources.files("memedit.scope.training").joinpath(name).read_text(encoding="utf-8")


def _relations_of(rows: Mapping[str, Any]) -> list[Relation]:
    left_out = frozenset(map(plain, rows["left_out"]))
    return [_relation(name, row, left_out) for name, row in sorted(rows["relations"].items())]


def _relation(name: str, row: Mapping[str, Any], left_out: frozenset[str]) -> Relation:
    texts = {
        field: tuple(str(text) for text in row[field])
        for field in ("nouns", "clauses", "questions", "yes_no", "objects", "fragments", "near")
    }
    for field in ("clauses", "questions", "yes_no", "fragments", "near"):
        for text in texts[field]:
            if text.count("{s}") != 1:
                raise ValueError(f"{name}, {field}: {text!r} names the subject other than once")
    overlaps = frozenset(str(other) for other in row["overlaps"])
    return Relation(name, str(row["about"]), **texts, overlaps=overlaps, left_out=left_out)


def ways(relation: Relation) -> list[str]:
    """Return all texts that ask or state a relation, ``HIDDEN`` for the subject."""
    nouns = [form.replace("{noun}", noun) for noun in relation.nouns for form in set(_NOUN_FORMS)]
    texts = [*relation.clauses, *relation.questions, *relation.fragments, *sorted(nouns)]
    return list(
        dict.fromkeys(
            text.replace("{s}", HIDDEN) for text in texts if plain(text) not in relation.left_out
        )
    )


class Wordings:
    """Which relations of a table a text may ask, by its exact wording."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._names: dict[str, set[str]] = {}
        self._overlaps: dict[str, frozenset[str]] = {}
        for relation in relations:
            self._overlaps[relation.name] = relation.overlaps | {relation.name}
            for text in ways(relation):
                self._names.setdefault(bare(text), set()).add(relation.name)

    def may_ask_the_same(self, one: str, other: str) -> bool:
        """Tell whether the table knows both texts, and as one relation or overlapping ones."""
        pair = [self._names.get(bare(text), set()) for text in (one, other)]
        return any(
            a in self._overlaps[b] or b in self._overlaps[a] for a in pair[0] for b in pair[1]
        )


def kept_out(relation: Relation, text: str) -> bool:
    """Tell whether a text of a relation is kept for measuring."""
    return relation.held_out or _share(f"{relation.name}: {text}")


def plain(text: str) -> str:
    """Return a text without case, brackets and punctuation, to compare wordings."""
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"\(.*?\)", "", text.casefold())))


def bare(text: str) -> str:
    """Return ``plain`` of a text whose subject is hidden."""
    return plain(text.replace(HIDDEN, "xsubjectx"))
