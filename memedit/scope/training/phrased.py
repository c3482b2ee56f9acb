"""Pairs made of the table of relations (see ``phrasings``)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from memedit.scope.pair_input import HIDDEN
from memedit.scope.training.pairs import Encode, Pair, longer_name, varied
from memedit.scope.training.phrasings import Relation, bare, kept_out, plain, ways
from memedit.types import ScopeLabel

THE_SAME: Final = 0.9
"""Relations whose texts are as near as this on average are not called different."""
_CHOICES: Final = (
    "{text} A. {0}  B. {1}  C. {2}  D. {3}",
    "{text} (a) {0} (b) {1} (c) {2}",
    "{text} Options: {0}, {1}, {2}",
    "{text} {0} or {1}?",
    "{text}\n1) {0}\n2) {1}\n3) {2}\n4) {3}",
)


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
        self._answers = random.Random(len(relations))
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
                wordings.setdefault(bare(text), set()).add(i)
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
                    or self._near[i, j] > THE_SAME
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
            yield self._pair(i, text, edit(), ScopeLabel.DIRECT, "direct" + end)
        for form in relation.yes_no if not self._measuring or relation.held_out else ():
            for one in relation.objects:
                text = form.replace("{s}", HIDDEN).replace("{o}", one)
                yield self._pair(i, text, edit(), ScopeLabel.DIRECT, "yes or no" + end)
        for form in relation.near if not self._measuring or relation.held_out else ():
            for _ in range(rounds):
                text = form.replace("{s}", HIDDEN)
                yield self._pair(i, text, edit(), ScopeLabel.UNRELATED, "near" + end)
        if len(relation.objects) >= 4:
            for text in rng.sample(texts, max(1, len(texts) // 20)):
                objects = rng.sample(relation.objects, 4)
                choice = rng.choice(_CHOICES).format(*objects, text=text)
                yield self._pair(i, choice, edit(), ScopeLabel.DIRECT, "choice" + end)
        others = self._others(i)
        near = self._weights(i, others)
        for j in rng.choices(others, near, k=len(texts) * rounds):
            text = rng.choice(self._texts[j] or self._edits[j])
            yield self._pair(i, text, edit(), ScopeLabel.UNRELATED, "other" + end)
        for j in rng.choices(others, k=max(2, len(texts) * rounds // 3)):
            yield from self._chained(i, j, end)
        if not self._measuring:
            for text in rng.sample(texts, min(6, len(texts))):
                longer = longer_name(rng, text)
                unrelated = ScopeLabel.UNRELATED
                yield Pair(longer, edit(), unrelated, "longer name", self._answer(i))

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
        edit = rng.choice(self._edits[i])
        yield self._pair(i, text, edit, ScopeLabel.DEPENDENT, "chain" + end)
        if rng.random() < 0.6:
            edit = rng.choice(self._edits[j])
            yield self._pair(j, text, edit, ScopeLabel.UNRELATED, "outer" + end)

    def _pair(self, of: int, prompt: str, edit: str, label: ScopeLabel, kind: str) -> Pair:
        """Make a pair whose edit is of the relation ``of``."""
        text = prompt if self._measuring else varied(self._rng, prompt, self._another)
        return Pair(text, edit, label, kind, self._answer(of))

    def _answer(self, of: int) -> str:
        objects = self._all[of].objects
        return self._answers.choice(objects) if objects else ""

    def _another(self) -> str:
        return self._rng.choice(self._edits[self._rng.randrange(len(self._edits))])
