"""More ways to say things, for training alone: what makes a phrasing never seen understandable.

A large model has met the words of a phrasing in other sentences; Atlas reads nothing but its
world, so its training says each relation in some sixty ways more than the world's own ten.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from examples.atlas.world import DATA, HELD_OUT_PHRASINGS, Relation

WORLDS_OWN = 0.3
"""How often training takes one of the relation's own phrasings."""
FRAMED = 0.08
"""How often a statement or a question stands in a frame."""


@dataclass(frozen=True, slots=True)
class Ways:
    """The further phrasings of one relation."""

    statements: tuple[str, ...] = ()
    """Each ends in the answer, so that it can be asked as an unfinished sentence."""
    only_stated: tuple[str, ...] = ()
    """Statements that do not, and only state."""
    questions: tuple[str, ...] = ()
    noun: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variety:
    """Phrasings, context styles, list headers and frames that only training uses."""

    ways: dict[str, Ways] = field(default_factory=dict)
    one_fact: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    statement_frames: tuple[str, ...] = ()
    question_frames: tuple[str, ...] = ()
    opinion_questions: tuple[str, ...] = ()

    def template(self, relation: Relation, which: str, rng: random.Random) -> str:
        """A statement, unfinished sentence or question; never one of the held-out ones.

        `which` is 'statement', 'prompt' (a statement that ends in its answer) or 'question'.
        """
        own = relation.questions if which == "question" else relation.statements
        ways = self.ways.get(relation.key, Ways())
        more = {
            "statement": (*ways.statements, *ways.only_stated),
            "prompt": ways.statements,
            "question": ways.questions,
        }[which]
        if not more or rng.random() < WORLDS_OWN:
            return rng.choice(own[:-HELD_OUT_PHRASINGS])
        return rng.choice(more)

    def noun(self, relation: Relation, rng: random.Random) -> str:
        """A noun phrase of the relation."""
        return rng.choice((*relation.noun, *self.ways.get(relation.key, Ways()).noun))

    def framed(self, text: str, which: str, rng: random.Random) -> str:
        """The sentence, at times with a few words around it."""
        frames = self.statement_frames if which == "statement" else self.question_frames
        if not frames or rng.random() >= FRAMED:
            return text
        return rng.choice(frames).replace("{x}", text)


def load_variety() -> Variety:
    """What data/more_phrasings.json holds."""
    raw = json.loads((DATA / "more_phrasings.json").read_text(encoding="utf-8"))
    ways = {
        key: Ways(**{name: tuple(texts) for name, texts in row.items()})
        for key, row in raw.pop("relations").items()
    }
    return Variety(ways, **{name: tuple(texts) for name, texts in raw.items()})
