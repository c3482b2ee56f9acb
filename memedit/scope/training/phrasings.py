"""Pairs made of a table of relations, each in some forty ways of asking or stating it.

The benchmarks give a fact one cloze and one paraphrase, and call other clozes about its subject
unrelated.  What is learnt of that alone takes any cloze in other words for another relation
("The place of birth of X is" beside "The birthplace of X is").  The table says which words mean
the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from memedit.errors import DatasetError
from memedit.scope.pair_input import HIDDEN
from memedit.scope.training.pairs import Encode, Pair, longer_name, varied
from memedit.types import ScopeLabel

_THE_SAME = 0.9
"""Relations whose texts are as near as this on average are not called different."""

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
        further: with the freer wordings of ``further_phrasings.json`` that memedit's own has.

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
                self._names.setdefault(_bare(text), set()).add(relation.name)

    def may_ask_the_same(self, one: str, other: str) -> bool:
        """Tell whether the table knows both texts, and as one relation or overlapping ones."""
        pair = [self._names.get(_bare(text), set()) for text in (one, other)]
        return any(
            a in self._overlaps[b] or b in self._overlaps[a] for a in pair[0] for b in pair[1]
        )


def kept_out(relation: Relation, text: str) -> bool:
    """Tell whether a text of a relation is kept for measuring."""
    return relation.held_out or _share(f"{relation.name}: {text}")


def phrased_pairs(relations: Sequence[Relation], encode: Encode, seed: int = 7) -> list[Pair]:
    """Make training pairs of a table; the same for the same seed.

    ``encode`` tells which relations are near to one another: those are told apart most often.
    """
    return list(_Phraser(relations, encode, random.Random(seed), measuring=False).pairs())


def measuring_pairs(relations: Sequence[Relation], encode: Encode, seed: int = 11) -> list[Pair]:
    """Make pairs out of what ``phrased_pairs`` never uses.

    Kinds are those of ``phrased_pairs``; of relations that training knows they end in
    "unseen phrasing", of others in "unseen relation".
    """
    return list(_Phraser(relations, encode, random.Random(seed), measuring=True).pairs())


class _Phraser:
    def __init__(
        self, relations: Sequence[Relation], encode: Encode, rng: random.Random, *, measuring: bool
    ) -> None:
        self._rng = rng
        self._measuring = measuring
        texts = [ways(relation) for relation in relations]
        vectors = encode([text.replace(HIDDEN, "it") for row in texts for text in row])
        ends = np.cumsum([len(row) for row in texts])
        centres = np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        self._near = centres @ centres.T
        self._all = list(relations)
        self._texts = [self._usable(relations[i], row) for i, row in enumerate(texts)]
        self._edits = [
            [text for text in row if not kept_out(relations[i], text)] or row
            for i, row in enumerate(texts)
        ]
        wordings: dict[str, set[int]] = {}
        for i, row in enumerate(texts):
            for text in row:
                wordings.setdefault(_bare(text), set()).add(i)
        self._alike: list[set[int]] = [{i} for i in range(len(self._all))]
        for same in wordings.values():
            for i in same:
                self._alike[i] |= same
        for i, one in enumerate(self._all):
            for j, other in enumerate(self._all):
                if (
                    one.name in other.overlaps
                    or other.name in one.overlaps
                    or plain(one.name) == plain(other.name)
                    or self._near[i, j] > _THE_SAME
                ):
                    self._alike[i].add(j)

    def _usable(self, relation: Relation, texts: Sequence[str]) -> list[str]:
        return [text for text in texts if kept_out(relation, text) is self._measuring]

    def pairs(self) -> Iterator[Pair]:
        for i, relation in enumerate(self._all):
            if relation.held_out and not self._measuring:
                continue
            yield from self._of(i)

    def _of(self, i: int) -> Iterator[Pair]:
        rng, relation, texts = self._rng, self._all[i], self._texts[i]
        if not texts:
            return
        end = ""
        if self._measuring:
            end = ", unseen relation" if relation.held_out else ", unseen phrasing"
        rounds = 1 if self._measuring else 3

        def edit() -> str:
            return rng.choice(self._edits[i])

        for text in texts * rounds:
            yield self._pair(text, edit(), ScopeLabel.DIRECT, "direct" + end)
        for form in relation.yes_no if not self._measuring or relation.held_out else ():
            for one in relation.objects:
                text = form.replace("{s}", HIDDEN).replace("{o}", one)
                yield self._pair(text, edit(), ScopeLabel.DIRECT, "yes or no" + end)
        for form in relation.near if not self._measuring or relation.held_out else ():
            for _ in range(rounds):
                text = form.replace("{s}", HIDDEN)
                yield self._pair(text, edit(), ScopeLabel.UNRELATED, "near" + end)
        others = self._others(i)
        for j in rng.choices(others, self._weights(i, others), k=len(texts) * rounds):
            text = rng.choice(self._texts[j] or self._edits[j])
            yield self._pair(text, edit(), ScopeLabel.UNRELATED, "other" + end)
        for j in rng.choices(others, k=max(2, len(texts) * rounds // 3)):
            yield from self._chained(i, j, end)
        if not self._measuring:
            for text in rng.sample(texts, min(6, len(texts))):
                longer = longer_name(rng, text)
                yield Pair(longer, edit(), ScopeLabel.UNRELATED, "longer name")

    def _others(self, i: int) -> list[int]:
        return [
            j
            for j, other in enumerate(self._all)
            if j not in self._alike[i] and (self._measuring or not other.held_out)
        ]

    def _weights(self, i: int, others: Sequence[int]) -> list[float]:
        about = self._all[i].about
        return [
            math.exp(5.0 * float(self._near[i, j])) * (3.0 if self._all[j].about == about else 1.0)
            for j in others
        ]

    def _chained(self, i: int, j: int, end: str) -> Iterator[Pair]:
        """Ask relation j of what relation i names: that leans on i, and does not ask j of it."""
        rng, inner, outer = self._rng, self._all[i], self._all[j]
        noun = f"the {rng.choice(inner.nouns)} of {HIDDEN}"
        if rng.random() < 0.3:
            noun = f"{HIDDEN}'s {rng.choice(inner.nouns)}"
        if rng.random() < 0.3 and outer.yes_no and outer.objects:
            form = rng.choice(outer.yes_no).replace("{o}", rng.choice(outer.objects))
            text = form.replace("{s}", noun)
        else:
            text = rng.choice(self._texts[j] or self._edits[j]).replace(HIDDEN, noun)
        text = text[0].upper() + text[1:]
        yield self._pair(text, rng.choice(self._edits[i]), ScopeLabel.DEPENDENT, "chain" + end)
        if rng.random() < 0.6:
            edit = rng.choice(self._edits[j])
            yield self._pair(text, edit, ScopeLabel.UNRELATED, "outer" + end)

    def _pair(self, prompt: str, edit: str, label: ScopeLabel, kind: str) -> Pair:
        if self._measuring:
            return Pair(prompt, edit, label, kind)
        return Pair(varied(self._rng, prompt, self._another), edit, label, kind)

    def _another(self) -> str:
        return self._rng.choice(self._edits[self._rng.randrange(len(self._edits))])


def plain(text: str) -> str:
    """Return a text without case, brackets and punctuation, to compare wordings."""
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"\(.*?\)", "", text.casefold())))


def _bare(text: str) -> str:
    return plain(text.replace(HIDDEN, "xsubjectx"))
