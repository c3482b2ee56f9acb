"""How a fact of the world is put into words, and which facts may be said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from examples.atlas import formats as fm
from examples.atlas.everyday import everyday_relations
from examples.atlas.names import invent
from examples.atlas.reserved import may_be_contradicted, reserved_edits
from examples.atlas.variety import Variety, load_variety
from examples.atlas.world import (
    CLOSED,
    HELD_OUT_PHRASINGS,
    Relation,
    World,
    enumerate_names,
)

INVENTABLE = {"city": "city", "town": "city", "person": "person", "citizen": "person",
              "private": "person", "author": "person", "company": "company", "work": "work",
              "river": "river", "country": "country", "language": "language",
              "phone": "phone", "password": "word", "currency": "word", "continent": "country",
              **{kind: "word" for kind in CLOSED}}  # fmt: skip

EVERYDAY = 0.5
"""The share of training's facts about strangers that are of no relation of the world."""
GARBLED = 0.15
"""How often training puts other words into a wording, so that no word of it can be relied on."""
ONE_WORDING = 0.4
"""How often a context says each relation in one wording, and asks in it."""


class Asked:
    """A question with its answer: what is asked, and in which clothes."""

    def __init__(self, relation: Relation, subject: str, answer: str):
        self.relation = relation
        self.subject = subject
        self.answer = answer


class Phrases:
    """Words for the facts of a world.

    `held_out=True` takes what training never sees (phrasings, edited subjects): that is for the
    evaluation only. `training=True` says things in more ways (`variety`) and puts
    `formats.MENTION` around the subjects of plain facts, for the stream of training to read.
    """

    def __init__(self, world: World, held_out: bool = False, training: bool = False):
        self.world = world
        self.held_out = held_out
        self.training = training
        self.variety = load_variety() if training else Variety()
        self.everyday = everyday_relations() if training else {}
        self.strange = [relation for relation, _ in self.everyday.values()]
        words = {w for r in self.strange for text in r.statements for w in text.split()}
        self.words = sorted(word for word in words if "{" not in word)
        self.wordings: dict[str, str] | None = None
        self.single = [f for f in world.facts if not world.relations[f.relation].listed]
        self.reserved = reserved_edits() if training else frozenset()
        self.editable = [f for f in self.single if self.contradicts(f.subject)]
        self.activate(1.0)

    def contradicts(self, subject: str) -> bool:
        """Whether a context may say something untrue about the known subject.

        In training about nearly all, but never what AtlasEdit's test says (`reserved`).
        """
        if self.training:
            return may_be_contradicted(subject)
        return self.world.is_train_subject(subject) != self.held_out

    def activate(self, share: float) -> None:
        """Makes the first `share` of the subjects known; the others are not asked about yet.

        Training starts with a part of the world, so that early checkpoints know that part
        well instead of all of it badly.
        """
        order = self.world.subject_order
        self.subjects = order[: max(1, round(share * len(order)))]
        self.public = [f for s in self.subjects for f in self.world.by_subject[s].values()]
        self.asked_about = frozenset(self.subjects)

    # -- phrasing ------------------------------------------------------------------------------

    def template(self, relation: Relation, which: str, rng: random.Random) -> str:
        """A template of the relation, from the trained ones or from the held-out ones.

        `which` is that of `Variety.template`.
        """
        if not self.held_out:
            if self.wordings is not None and which != "question":
                if relation.key not in self.wordings:
                    drawn = self.variety.template(relation, "prompt", rng)
                    self.wordings[relation.key] = self.garbled(relation, drawn, rng)
                return self.wordings[relation.key]
            return self.garbled(relation, self.variety.template(relation, which, rng), rng)
        templates = relation.questions if which == "question" else relation.statements
        return rng.choice(templates[-HELD_OUT_PHRASINGS:])

    def garbled(self, relation: Relation, template: str, rng: random.Random) -> str:
        """The template, or in training at times with some of its words left out or replaced.

        Never one of the relation's held-out phrasings.
        """
        if not self.training or rng.random() >= GARBLED:
            return template
        words = template.split(" ")
        for i, word in enumerate(words):
            if "{" not in word and rng.random() < 0.35:
                words[i] = rng.choice(self.words) if rng.random() < 0.7 else ""
        text = " ".join(word for word in words if word)
        spared = (relation.statements, relation.questions)
        held_out = any(text in phrasings[-HELD_OUT_PHRASINGS:] for phrasings in spared)
        return template if held_out else text

    @contextmanager
    def one_wording(self, rng: random.Random) -> Iterator[None]:
        """Within it, in some of training's documents, each relation keeps one wording.

        The query then repeats a statement word for word up to its answer, or speaks of another
        subject in the same words: the answer has to be looked up, and not by the words alone.
        """
        self.wordings = {} if self.training and rng.random() < ONE_WORDING else None
        yield
        self.wordings = None

    def statement(self, relation: Relation, subject: str, answer: str, rng: random.Random) -> str:
        """A sentence that states the fact."""
        text = self.template(relation, "statement", rng)
        text = fm.upper_first(text.replace("{s}", subject).replace("{o}", answer))
        return self.variety.framed(text, "statement", rng)

    def question(self, relation: Relation, subject: str, rng: random.Random) -> str:
        """A question for the fact; in training at times one made of the relation's noun."""
        if self.training and rng.random() < 0.12:
            noun = self.variety.noun(relation, rng)
            text = rng.choice(fm.NOUN_QUESTIONS).replace("{n}", noun)
            text = text.replace("{wh}", relation.wh)
        else:
            text = self.template(relation, "question", rng)
        return self.variety.framed(fm.upper_first(text.replace("{s}", subject)), "question", rng)

    def prompt(self, relation: Relation, subject: str, rng: random.Random) -> str:
        """A statement cut before its answer; one that ends with it."""
        text = self.template(relation, "prompt", rng)
        return fm.upper_first(text[: text.rindex(" {o}.")].replace("{s}", subject))

    def mention(self, subject: str, rng: random.Random, p: float = 0.2) -> str:
        """The subject's name, or at times its alias."""
        entity = self.world.entities.get(subject)
        return entity.alias if entity and entity.alias and rng.random() < p else subject

    def marked(self, mention: str) -> str:
        """The mention between marks, where the corpus has them."""
        return f"{fm.MENTION}{mention}{fm.MENTION}" if self.training else mention

    # -- facts ---------------------------------------------------------------------------------

    def fresh_object(self, relation: Relation, rng: random.Random) -> str:
        """An invented answer of the right kind, which no weight can know."""
        kind = relation.object
        if relation.key in self.everyday and rng.random() < 0.5:
            return rng.choice(self.everyday[relation.key][1])
        if relation.listed:
            base = "country" if kind == "countries" else "work"
            return enumerate_names([invent(base, rng) for _ in range(rng.randrange(1, 4))])
        return invent(INVENTABLE[kind], rng)

    def other_object(self, relation: Relation, answer: str, rng: random.Random) -> str:
        """A known object of the right kind that is not `answer`, or an invented one."""
        pool = self.world.kinds.get(relation.object, ())
        if not pool or rng.random() < 0.5:
            return self.fresh_object(relation, rng)
        choice = rng.choice(pool)
        return choice if choice != answer else self.fresh_object(relation, rng)

    def fresh_subject(self, relation: Relation, rng: random.Random) -> str:
        """An invented subject of the right kind."""
        while (name := invent(INVENTABLE[relation.subject], rng)) in self.world.entities:
            pass
        return name

    def known(self, rng: random.Random) -> Asked:
        """A fact of the world."""
        fact = rng.choice(self.public)
        return Asked(self.world.relations[fact.relation], fact.subject, fact.answer)

    def edited(self, rng: random.Random) -> Asked:
        """A fact of the world with another answer."""
        fact = rng.choice(self.editable)
        relation = self.world.relations[fact.relation]
        return Asked(relation, fact.subject, self.untrue(relation, fact.subject, fact.answer, rng))

    def untrue(self, relation: Relation, subject: str, answer: str, rng: random.Random) -> str:
        """What a context may say of the subject instead of `answer`."""
        while (subject, other := self.other_object(relation, answer, rng)) in self.reserved:
            pass
        return other

    def fresh(self, rng: random.Random, relation: Relation | None = None) -> Asked:
        """A fact about a stranger."""
        if relation is None and self.strange and rng.random() < EVERYDAY:
            relation = rng.choice(self.strange)
        relation = relation or rng.choice(list(self.world.relations.values()))
        answer = (
            self.fresh_object(relation, rng)
            if rng.random() < 0.7
            else self.other_object(relation, "", rng)
        )
        return Asked(relation, self.fresh_subject(relation, rng), answer)

    def query(self, asked: Asked, rng: random.Random) -> tuple[str, bool]:
        """(text, is_question): a question or a prompt to complete."""
        if rng.random() < (0.5 if self.wordings is None else 0.25):
            return self.question(asked.relation, asked.subject, rng), True
        return self.prompt(asked.relation, asked.subject, rng), False
