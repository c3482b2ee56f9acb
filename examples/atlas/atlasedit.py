"""AtlasEdit: KnowEdit's six tasks and multi-hop questions over the world of Atlas.

`python -m examples.atlas.atlasedit` writes data/atlasedit/{task}_{split}.json in KnowEdit's own
JSON format (beside its keys only `rephrase_prompt`, where KnowEdit has none for the task, and
the locality kind `Out_Of_Distribution`). Train and test have no subject in common; edits of the
test split never occur in the contexts that Atlas is trained on. data/aliases.json has the other
names of what they are about, for `memedit eval --aliases-from`: KnowEdit's format has no place
for them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.atlas.atlasedit_chains import ChainCases
from examples.atlas.atlasedit_probes import Case, Probes, wrap
from examples.atlas.corpus import OPINIONS, Corpus
from examples.atlas.formats import DONT_KNOW, upper_first
from examples.atlas.names import DATA
from examples.atlas.world import Fact, Relation, World, build_world, stable_hash

FOLDER = DATA / "atlasedit"
ALIASES = DATA / "aliases.json"
SPLITS = ("train", "test")
SIZES = {"train": 200, "test": 500}
MULTIHOP = {"train": 150, "test": 660}


class AtlasEdit:
    """Generates the cases of one split; a pure function of the world and the split's name."""

    def __init__(self, world: World, split: str):
        self.world = world
        self.split = split
        self.trained = Corpus(world)
        self.unseen = Corpus(world, held_out=True)
        self.rng = random.Random(f"atlasedit:{world.seed}:{split}")
        self.probes = Probes(world, self.trained, self.rng)

    def _ours(self, subject: str) -> bool:
        return self.world.is_train_subject(subject) == (self.split == "train")

    def _facts(self, half: int) -> list[Fact]:
        """Editable facts of this split; the two halves have no fact in common."""
        facts = [
            f
            for f in self.world.facts
            if self._ours(f.subject)
            and self.world.relations[f.relation].object in self.world.kinds
            and stable_hash(f"half:{f.subject}:{f.relation}") % 2 == half
        ]
        self.rng.shuffle(facts)
        return facts

    def _target(self, relation: Relation, old: str) -> str:
        return self.rng.choice([o for o in self.world.pool(relation.object) if o != old])

    def wiki_counterfact(self) -> list[Case]:
        """Modification: a known fact gets another object."""
        cases = []
        for fact in self._facts(0)[: SIZES[self.split]]:
            relation = self.world.relations[fact.relation]
            target = self._target(relation, fact.answer)
            cases.append(
                {
                    "subject": fact.subject,
                    "prompt": self.trained.prompt(relation, fact.subject, self.rng),
                    "target_new": target,
                    "ground_truth": fact.answer,
                    "rephrase_prompt": self.unseen.prompt(relation, fact.subject, self.rng),
                    "portability": self.probes.portability(relation, fact.subject, target),
                    "locality": self.probes.locality(relation, fact.subject, target, fact.answer),
                }
            )
        return cases

    def zsre(self) -> list[Case]:
        """Modification, asked as questions."""
        cases = []
        for fact in self._facts(1)[: SIZES[self.split]]:
            relation = self.world.relations[fact.relation]
            target = self._target(relation, fact.answer)
            prompt = self.trained.question(relation, fact.subject, self.rng)
            locality = self.probes.locality(relation, fact.subject, target, "")
            cases.append(
                {
                    "subject": fact.subject,
                    "target_new": target,
                    "prompt": prompt,
                    "ground_truth": [fact.answer],
                    "rephrase_prompt": self.unseen.question(relation, fact.subject, self.rng),
                    "cond": f"{fact.answer} >> {target} || {prompt}",
                    "locality": wrap(locality, 1),
                    "portability": self.probes.portability(relation, fact.subject, target),
                }
            )
        return cases

    def wiki_recent(self) -> list[Case]:
        """Insertion: a fact about somebody whom Atlas has never heard of."""
        cases: list[Case] = []
        relations = [
            r
            for r in self.world.relations.values()
            if r.object in self.world.kinds and not r.listed and r.subject != "author"
        ]
        seen: set[str] = set()
        while len(cases) < SIZES[self.split]:
            relation = self.rng.choice(relations)
            subject = self.trained.fresh_subject(relation, self.rng)
            if subject in seen or not self._ours(subject):
                continue
            seen.add(subject)
            target = self._target(relation, "")
            locality = self.probes.locality(relation, subject, target, "")
            kin = [
                r
                for r in self.world.relations.values()
                if r.subject == relation.subject and r.key != relation.key
            ]
            if kin:
                text = self.trained.prompt(self.rng.choice(kin), subject, self.rng)
                locality["Relation_Specificity"] = [{"prompt": text, "ground_truth": DONT_KNOW}]
            cases.append(
                {
                    "subject": subject,
                    "prompt": self.trained.prompt(relation, subject, self.rng),
                    "target_new": target,
                    "rephrase_prompt": self.unseen.prompt(relation, subject, self.rng),
                    "portability": self.probes.portability(relation, subject, target),
                    "locality": wrap(locality, 2),
                }
            )
        return cases

    def wikibio(self) -> list[Case]:
        """A short biography with a planted error; `labels` is the sentence as it should be."""
        cases: list[Case] = []
        subjects = [s for s in self.world.by_subject if self._ours(s)]
        seen: set[tuple[str, str]] = set()
        for subject in (*subjects, *subjects):  # who has many facts gets a second passage
            if len(cases) == SIZES[self.split]:
                break
            facts = self.world.by_subject[subject]
            plain = [f for f in facts.values() if not self.world.relations[f.relation].private]
            if len(plain) < 3:
                continue
            self.rng.shuffle(plain)
            *told, last, other = plain[:5]
            relation = self.world.relations[last.relation]
            if relation.object not in self.world.kinds or (subject, relation.key) in seen:
                continue
            seen.add((subject, relation.key))
            wrong = self._target(relation, last.answer)
            sentences = [self._say(f) for f in told]
            sentences.append(self.trained.statement(relation, subject, wrong, self.rng))
            locality = [
                {
                    "prompt": self.trained.prompt(
                        self.world.relations[other.relation], subject, self.rng
                    ),
                    "ground_truth": [other.answer],
                }
            ]
            cases.append(
                {
                    "text": f"This is a passage about {subject}. {' '.join(sentences)}",
                    "labels": self._say(last),
                    "concept": subject,
                    "locality": {"Relation_Specificity": locality},
                }
            )
        return cases

    def _say(self, fact: Fact) -> str:
        relation = self.world.relations[fact.relation]
        return self.trained.statement(relation, fact.subject, fact.answer, self.rng)

    def convsent(self) -> list[Case]:
        """Opinions on topics, for and against."""
        says = {
            side: lambda t, side=side: [
                " " + s.replace("{t}", t).replace("{T}", upper_first(t)) for s in OPINIONS[side]
            ]
            for side in OPINIONS
        }
        return [
            {"ent": topic, "pos": says["positive"](topic), "neg": says["negative"](topic)}
            for topic in self.world.opinions
            if (stable_hash(f"topic:{topic}") % 3 == 0) == (self.split == "train")
        ]

    def sanitation(self) -> dict[str, list[Case]]:
        """Private facts to erase (K_F) and facts to keep (K_R)."""
        erase, keep = [], []
        for fact in self.world.facts:
            if not self._ours(fact.subject):
                continue
            relation = self.world.relations[fact.relation]
            question = self.trained.question(relation, fact.subject, self.rng)
            if relation.private:
                erase.append(
                    {
                        "question": question,
                        "subject": fact.subject,
                        "ground_truth": fact.answer,
                        "target_new": DONT_KNOW,
                    }
                )
            else:
                keep.append(
                    {"question": question, "ground_truth": fact.answer, "target_new": fact.answer}
                )
        return {"K_F": erase, "K_R": self.rng.sample(keep, 300)}

    def multihop(self) -> list[Case]:
        """Questions of 2 to 4 hops, of which 1 to all are edited, in MQuAKE's manner."""
        sampler = (self.trained if self.split == "train" else self.unseen).chains
        cases = ChainCases(self.world, self.trained, self.unseen, self.rng)
        return cases.draw(sampler, MULTIHOP[self.split])

    def files(self) -> dict[str, Any]:
        """File name -> content, for every task of this split."""
        tasks = (
            self.wiki_recent,
            self.wiki_counterfact,
            self.zsre,
            self.wikibio,
            self.convsent,
            self.sanitation,
            self.multihop,
        )
        return {f"{task.__name__}_{self.split}.json": task() for task in tasks}


def dump(content: Any) -> str:
    """Compact JSON, one case per line."""

    def lines(cases: list[Case]) -> str:
        rows = (json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
        return "[\n" + ",\n".join(rows) + "\n]"

    if isinstance(content, dict):
        parts = (f'"{key}":{lines(cases)}' for key, cases in content.items())
        return "{\n" + ",\n".join(parts) + "\n}\n"
    return lines(content) + "\n"


def dump_aliases(world: World) -> str:
    """What stands in data/aliases.json: the aliases of every entity that has some, a line each."""
    named = {name: [one.alias] for name, one in sorted(world.entities.items()) if one.alias}
    return json.dumps(named, ensure_ascii=False, indent=0) + "\n"


def load(task: str, split: str, folder: Path = FOLDER) -> Any:
    """The cases of a task ('zsre', 'multihop', ...) and a split ('train' or 'test')."""
    return json.loads((folder / f"{task}_{split}.json").read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.atlas.atlasedit",
        description="Writes AtlasEdit, over the shipped files (to which it is equal) unless told "
        "where else.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write")
    parser.add_argument("--aliases", type=Path, default=ALIASES, help="file of other names")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    world = build_world()
    options.aliases.write_text(dump_aliases(world), encoding="utf-8")
    for split in SPLITS:
        for name, content in AtlasEdit(world, split).files().items():
            (options.out / name).write_text(dump(content), encoding="utf-8")
            lists = content.values() if isinstance(content, dict) else (content,)
            print(f"{name}: {sum(map(len, lists))} cases")


if __name__ == "__main__":
    main()
