"""AtlasEdit's multi-hop cases, in MQuAKE's manner."""

from __future__ import annotations

import random
from typing import Any

from examples.atlas.chains import Chain, ChainSampler
from examples.atlas.corpus import Corpus
from examples.atlas.world import Fact, World

Case = dict[str, Any]


class ChainCases:
    """Writes cases in trained phrasings; statements of edits are in unseen ones."""

    def __init__(self, world: World, trained: Corpus, unseen: Corpus, rng: random.Random):
        self.world = world
        self.trained = trained
        self.unseen = unseen
        self.rng = rng

    def draw(self, sampler: ChainSampler, size: int) -> list[Case]:
        """Draw so many cases of 2 to 4 hops, of which 1 to all are edited."""
        cases: list[Case] = []
        seen: set[str] = set()
        while len(cases) < size:
            hops = 2 + len(cases) % 3
            edited = 1 + (len(cases) // 3) % hops
            chain = sampler.sample(self.rng, hops, edited)
            path = "/".join((chain.hops[0].subject, *(h.relation for h in chain.hops)))
            if path in seen:
                continue
            old = self._unedited(chain)
            if old is None:
                continue
            seen.add(path)
            cases.append(self._case(len(cases), chain, old))
        return cases

    def _unedited(self, chain: Chain) -> list[Fact] | None:
        """The chain as it was before the edits, or None where it breaks off."""
        facts, subject = [], chain.hops[0].subject
        for hop in chain.hops:
            fact = self.world.lookup(subject, hop.relation)
            if fact is None:
                return None
            facts.append(fact)
            subject = fact.answer
        return facts

    def _case(self, number: int, chain: Chain, old: list[Fact]) -> Case:
        relations = [self.world.relations[h.relation] for h in chain.hops]
        path = [r.key for r in relations]
        start = chain.hops[0].subject
        questions = dict.fromkeys(
            [chain.question, *(self.trained.chains.question(start, path, self.rng) for _ in "12")]
        )
        return {
            "case_id": number,
            "requested_rewrite": [
                {
                    "prompt": self.trained.prompt(r, "{}", self.rng),
                    "subject": h.subject,
                    "relation": h.relation,
                    "target_new": h.answer,
                    "target_true": h.known,
                    "question": self.trained.question(r, h.subject, self.rng),
                    "statement": self.unseen.statement(r, h.subject, h.answer, self.rng),
                }
                for h, r in zip(chain.hops, relations, strict=True)
                if h.edited
            ],
            "questions": list(questions),
            "answer": old[-1].answer,
            "new_answer": chain.answer,
            "single_hops": [
                {
                    "question": self.trained.question(
                        self.world.relations[f.relation], f.subject, self.rng
                    ),
                    "answer": f.answer,
                }
                for f in old
            ],
            "new_single_hops": [
                {
                    "question": self.trained.question(r, h.subject, self.rng),
                    "answer": h.answer,
                    "edited": h.edited,
                }
                for h, r in zip(chain.hops, relations, strict=True)
            ],
        }
