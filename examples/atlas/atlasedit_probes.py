"""What AtlasEdit asks beside an edit: what follows from it, and what it must leave alone."""

from __future__ import annotations

import random
from typing import Any

from examples.atlas.corpus import Corpus
from examples.atlas.formats import upper_first
from examples.atlas.world import Relation, World

Case = dict[str, Any]


class Probes:
    """Draws the probes of edits from a corpus' phrasings, with the generator it is given."""

    def __init__(self, world: World, corpus: Corpus, rng: random.Random):
        self.world = world
        self.corpus = corpus
        self.rng = rng

    def portability(self, relation: Relation, subject: str, target: str) -> Case:
        """Aliases of the subject, one hop further, and the inverse relation."""
        probes: Case = {}
        entity = self.world.entities.get(subject)
        if entity and entity.alias:
            text = self.corpus.prompt(relation, entity.alias, self.rng)
            probes["Subject_Aliasing"] = [{"prompt": text, "ground_truth": target}]
        further = [
            f
            for f in self.world.by_subject.get(target, {}).values()
            if f.relation != relation.inverse
            and not self.world.relations[f.relation].listed
            and not self.world.relations[f.relation].private
        ]
        if further:
            fact = self.rng.choice(further)
            phrase = self.rng.choice(relation.noun).replace("{s}", subject)
            text = self.corpus.prompt(self.world.relations[fact.relation], phrase, self.rng)
            probes["Reasoning"] = [{"prompt": text, "ground_truth": fact.answer}]
        if relation.inverse and not self.world.relations[relation.inverse].listed:
            back = self.world.relations[relation.inverse]
            text = self.corpus.prompt(back, target, self.rng)
            probes["Logical_Generalization"] = [{"prompt": text, "ground_truth": subject}]
        return probes

    def locality(self, relation: Relation, subject: str, target: str, old: str) -> Case:
        """The subject's other facts, the old answer where it still holds, something far away."""
        probes: Case = {}
        others = [
            f for f in self.world.by_subject.get(subject, {}).values() if f.relation != relation.key
        ]
        if others:
            probes["Relation_Specificity"] = [
                {
                    "prompt": self.corpus.prompt(
                        self.world.relations[f.relation], subject, self.rng
                    ),
                    "ground_truth": f.answer,
                }
                for f in self.rng.sample(others, min(2, len(others)))
            ]
        if old:
            phrase = upper_first(self.rng.choice(relation.noun).replace("{s}", subject))
            probes["Forgetfulness"] = [
                {"prompt": f"{phrase}, which is not {target}, is", "ground_truth": old}
            ]
        far = self.rng.choice([f for f in self.corpus.public if f.relation != relation.key])
        text = self.corpus.prompt(self.world.relations[far.relation], far.subject, self.rng)
        probes["Out_Of_Distribution"] = [{"prompt": text, "ground_truth": far.answer}]
        return probes


def wrap(probes: Case, depth: int) -> Case:
    """Ground truths inside `depth` lists, as KnowEdit has them for some tasks."""

    def wrapped(value: Any) -> Any:
        for _ in range(depth):
            value = [value]
        return value

    return {
        kind: [{**item, "ground_truth": wrapped(item["ground_truth"])} for item in items]
        for kind, items in probes.items()
    }
