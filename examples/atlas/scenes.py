"""Scenes for the demo: edits before and after which the shipped model answers as it should.

`python -m examples.atlas.scenes` looks for facts that Atlas knows in every phrasing asked,
follows in the context the way memedit states them, and forgets nothing beside, and whose
paraphrases memedit's default scope classifier recognises; it writes data/demo.json. The scenes
are chosen to work: they show the mechanism and measure nothing. Subjects are of AtlasEdit's test
split.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from examples.atlas import formats as fm
from examples.atlas.answering import Answerer
from examples.atlas.corpus import Corpus
from examples.atlas.export import MODEL
from examples.atlas.names import DATA
from examples.atlas.world import HELD_OUT_PHRASINGS, Fact, World, build_world
from memedit import EditRequest, open_memory
from memedit.memory import EditMemory
from memedit.routing import RouteQuery
from memedit.types import Action, QueryText
from memedit.wiring import open_router

RELATIONS = ("capital", "capital", "head_of_state", "currency", "birthplace", "headquarters",
             "author", "ceo")  # fmt: skip
TITLES = {
    "capital": "A capital moves", "head_of_state": "A new head of state",
    "currency": "A new currency", "birthplace": "Born elsewhere",
    "headquarters": "A company moves", "author": "Another author", "ceo": "A new chief executive",
}  # fmt: skip
HEADER = "Updated facts, which replace what you know:"
Scene = dict[str, Any]


def with_fact(statement: str, question: str) -> str:
    """A user turn as memedit's proxy writes it."""
    return f"{fm.fact_block(HEADER, [statement])}\n\n{question}"


class SceneFinder:
    """Builds scenes and keeps those that the model plays right."""

    def __init__(self, model: Answerer, memory: EditMemory, world: World, share: float):
        self.model = model
        self.memory = memory
        self.router = open_router(memory)
        self.world = world
        self.corpus = Corpus(world)
        self.corpus.activate(share)
        self.rng = random.Random(3)

    def find(self, relation: str, without: set[str]) -> Scene | None:
        """The first scene of the relation that holds; None where there is none."""
        facts = [
            f
            for f in self.corpus.public
            if f.relation == relation
            and f.subject not in without
            and not self.world.is_train_subject(f.subject)
        ]
        self.rng.shuffle(facts)
        for fact in facts:
            scene = self.scene(fact)
            if self.in_scope(scene) and self.plays(scene):
                return scene
        return None

    def scene(self, fact: Fact) -> Scene:
        """An edit of the fact and the questions of the scene."""
        relation = self.world.relations[fact.relation]
        known = [f.answer for f in self.corpus.public if f.relation == fact.relation]
        target = self.rng.choice([o for o in known if o != fact.answer])
        template = relation.statements[0]
        prompt = fm.upper_first(template[: template.rindex(" {o}.")].replace("{s}", fact.subject))
        asks = [relation.questions[0], *relation.questions[-HELD_OUT_PHRASINGS:]]
        questions = [
            {
                "kind": "paraphrase" if i else "edited",
                "ask": fm.upper_first(text.replace("{s}", fact.subject)),
                "before": fact.answer,
                "after": target,
            }
            for i, text in enumerate(asks)
        ]
        far = self.rng.choice(
            [
                f
                for f in self.corpus.public
                if f.relation in ("capital", "currency", "occupation", "author", "river")
                and f.relation != fact.relation
                and f.subject != fact.subject
            ]
        )
        ask = self.world.relations[far.relation].questions[0].replace("{s}", far.subject)
        questions.append(
            {"kind": "unrelated", "ask": ask, "before": far.answer, "after": far.answer}
        )
        return {
            "name": f"{TITLES[fact.relation]}: {fact.subject}",
            "edit": {
                "prompt": prompt,
                "subject": fact.subject,
                "target_new": target,
                "ground_truth": fact.answer,
                "statement": f"{prompt} {target}.",
            },
            "questions": questions,
        }

    def in_scope(self, scene: Scene) -> bool:
        """Whether the edit fires for every question about it, and for no other."""
        [edit] = self.memory.add([EditRequest(**scene["edit"])])
        routes = self.router.decide(
            [RouteQuery(QueryText(question["ask"])) for question in scene["questions"]]
        )
        self.memory.retract(edit.id)
        return all(
            (route.action is Action.IN_CONTEXT) == (question["kind"] != "unrelated")
            for route, question in zip(routes, scene["questions"], strict=True)
        )

    def plays(self, scene: Scene) -> bool:
        """Whether greedy generation answers everything exactly, chat and completion."""
        edit = scene["edit"]
        prompts, expected = [], []
        for question in scene["questions"]:
            prompts.append(fm.chat_prompt([("user", question["ask"])]))
            expected.append(question["before"])
            prompts.append(
                fm.chat_prompt([("user", with_fact(edit["statement"], question["ask"]))])
            )
            expected.append(question["after"])
        prompts.append(fm.BOS + edit["prompt"])
        expected.append(edit["ground_truth"])
        for context in (
            with_fact(edit["statement"], edit["prompt"]),
            fm.one_fact(fm.ICE, edit["statement"], edit["prompt"]),
        ):
            prompts.append(fm.BOS + context)
            expected.append(edit["target_new"])
        said = self.model.generate(prompts, 24)
        return [text.strip() for text in said] == [f"{answer}." for answer in expected]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.atlas.scenes",
        description="Finds the demo's scenes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--out", type=Path, default=DATA / "demo.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    progress = json.loads((options.model / "training.json").read_text(encoding="utf-8"))
    scenes: list[Scene] = []
    with open_memory("sqlite://") as memory:
        finder = SceneFinder(
            Answerer(options.model), memory, build_world(), progress["known_share"]
        )
        for relation in RELATIONS:
            scene = finder.find(relation, {s["edit"]["subject"] for s in scenes})
            if scene:
                scenes.append(scene)
                print(scene["name"])
    text = json.dumps({"scenes": scenes}, indent=2, ensure_ascii=False) + "\n"
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
