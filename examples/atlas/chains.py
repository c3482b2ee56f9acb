"""Multi-hop questions: a walk over relations, some of whose hops may be edited.

A chain is named by its first subject and its path of relations. One in five is held out of
training: whatever its edits, its question never occurs there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from examples.atlas.formats import upper_first
from examples.atlas.reserved import may_be_contradicted, reserved_edits
from examples.atlas.world import HELD_OUT_PHRASINGS, World, stable_hash

MAX_HOPS = 4


@dataclass(frozen=True, slots=True)
class Hop:
    """One step: subject, relation, the answer that holds, and what the weights know."""

    subject: str
    relation: str
    answer: str
    known: str
    edited: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """A question in one sentence, its hops and its last answer."""

    question: str
    hops: tuple[Hop, ...]

    @property
    def answer(self) -> str:
        """The final answer."""
        return self.hops[-1].answer


class ChainSampler:
    """Samples chains over a world; `held_out` draws the ones that training never sees."""

    def __init__(self, world: World, held_out: bool = False, training: bool = False):
        self.world = world
        self.held_out = held_out
        self.training = training
        self.reserved = reserved_edits() if training else frozenset()
        self.steps = {
            subject: [
                key
                for key in facts
                if not world.relations[key].listed and not world.relations[key].private
            ]
            for subject, facts in world.by_subject.items()
        }
        self.active = frozenset(self.steps)
        self.starts = [s for s, keys in self.steps.items() if keys]

    def is_held_out(self, subject: str, path: tuple[str, ...]) -> bool:
        """Whether the chain belongs to the evaluation."""
        return stable_hash(f"chain:{self.world.seed}:{subject}:{'/'.join(path)}") % 5 == 0

    def sample(
        self, rng: random.Random, hops: int | None = None, edited: int | None = None
    ) -> Chain:
        """A chain of `hops` (2 to 4) with `edited` edited hops, both random where not given."""
        while True:
            chain = self._walk(rng, hops or rng.choice((2, 2, 3, 3, 4, 4)), edited)
            if chain is not None:
                return chain

    def _walk(self, rng: random.Random, n: int, edited: int | None) -> Chain | None:
        if edited is None:
            edits = {i for i in range(n) if rng.random() < 0.4}
        else:
            edits = set(rng.sample(range(n), edited))
        subject = rng.choice(self.starts)
        seen = {subject}
        path: list[str] = []
        hops: list[Hop] = []
        for i in range(n):
            if subject not in self.active:
                return None
            back = self.world.relations[hops[-1].relation].inverse if hops else None
            keys = [key for key in self.steps.get(subject, ()) if key != back]
            if not keys:
                return None
            key = rng.choice(keys)
            known = self.world.by_subject[subject][key].answer
            answer = self._edit(key, known, i == n - 1, rng) if i in edits else known
            if answer in seen or (i in edits and not self._may_edit(subject, answer)):
                return None
            hops.append(Hop(subject, key, answer, known, i in edits))
            path.append(key)
            seen.add(answer)
            subject = answer
        if self.is_held_out(hops[0].subject, tuple(path)) != self.held_out:
            return None
        return Chain(self.question(hops[0].subject, path, rng), tuple(hops))

    def _may_edit(self, subject: str, answer: str) -> bool:
        if self.training:
            return may_be_contradicted(subject) and (subject, answer) not in self.reserved
        return self.world.is_train_subject(subject) != self.held_out

    def _edit(self, key: str, known: str, last: bool, rng: random.Random) -> str:
        """Another object; one that the walk can go on from unless it is the last."""
        pool = [o for o in self.world.pool(self.world.relations[key].object) if o != known]
        if not last:
            pool = [o for o in pool if self.steps.get(o) and o in self.active] or pool
        return rng.choice(pool)

    def question(self, subject: str, path: list[str], rng: random.Random) -> str:
        """The chain as one question: 'Where was the author of the ... born?'"""
        phrase = subject
        for key in path[:-1]:
            phrase = rng.choice(self.world.relations[key].noun).replace("{s}", phrase)
        last = self.world.relations[path[-1]]
        trained = last.questions[:-HELD_OUT_PHRASINGS]
        return upper_first(rng.choice(trained).replace("{s}", phrase))
