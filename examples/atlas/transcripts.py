"""Multi-hop questions decomposed, as MeLLo and PokeMQA write them down."""

from __future__ import annotations

import random

from examples.atlas import formats as fm
from examples.atlas.chains import Chain, ChainSampler
from examples.atlas.contexts import Contexts
from examples.atlas.formats import DONT_KNOW, TEXT, Document
from examples.atlas.phrases import Asked
from examples.atlas.world import Relation, World


class Transcripts(Contexts):
    """Draws decompositions of chains."""

    def __init__(self, world: World, held_out: bool = False, training: bool = False):
        self.chains = ChainSampler(world, held_out, training)
        super().__init__(world, held_out, training)

    def activate(self, share: float) -> None:
        """Makes the first `share` of the subjects known, in chains too."""
        super().activate(share)
        self.chains.active = frozenset(self.subjects)

    def chain(self, rng: random.Random) -> Document:
        """A multi-hop question decomposed in MeLLo's or PokeMQA's format."""
        chain = self.chains.sample(rng)
        pieces = self.mello(chain, rng) if rng.random() < 0.6 else self.pokemqa(chain, rng)
        if rng.random() < 0.2:
            return self.as_chat(pieces, rng)
        return pieces

    def mello(self, chain: Chain, rng: random.Random) -> Document:
        """MeLLo's transcript of a chain."""
        hops = []
        for hop in chain.hops:
            relation = self.world.relations[hop.relation]
            known = f"{hop.known}." if hop.known else DONT_KNOW
            if hop.edited or rng.random() < 0.25:
                fact = self.statement(relation, hop.subject, hop.answer, rng)
            else:
                near = self.distractors(Asked(relation, hop.subject, hop.answer), 1, rng)
                other = near[0] if near else self.fresh(rng)
                fact = self.statement(other.relation, other.subject, other.answer, rng)
            hops.append(
                fm.MelloHop(
                    question=self.subquestion(relation, hop.subject),
                    generated=known,
                    fact=fact,
                    contradicts=hop.answer != hop.known,
                    answer=f"{hop.answer}.",
                )
            )
        return fm.mello(chain.question, hops, f"{chain.answer}.")

    def pokemqa(self, chain: Chain, rng: random.Random) -> Document:
        """PokeMQA's transcript of a chain."""
        hops = []
        for hop in chain.hops:
            relation = self.world.relations[hop.relation]
            hops.append(
                fm.PokemqaHop(
                    question=self.subquestion(relation, hop.subject),
                    fact=self.fact(relation, hop.subject, hop.answer, hop.edited, rng),
                    given=hop.edited,
                    answer=f"{hop.answer}.",
                )
            )
        return fm.pokemqa(chain.question, chain.hops[0].subject, hops, f"{chain.answer}.")

    @staticmethod
    def subquestion(relation: Relation, subject: str) -> str:
        """What the model is to ask; always said alike, since nothing is gained by guessing how."""
        return fm.upper_first(relation.questions[0].replace("{s}", subject))

    def fact(
        self, relation: Relation, subject: str, answer: str, given: bool, rng: random.Random
    ) -> str:
        """A fact that is read off an edit, said in any way; the model's own, always alike."""
        if given:
            return self.statement(relation, subject, answer, rng)
        text = relation.statements[0].replace("{s}", subject).replace("{o}", answer)
        return fm.upper_first(text)

    def as_chat(self, pieces: Document, rng: random.Random) -> Document:
        """The transcript so far as the user's turn, the model's next lines as the answer."""
        body = pieces[1:-1]
        starts = [i for i, (text, _) in enumerate(body) if text.startswith("\nSubquestion")]
        at = rng.choice(starts)
        before = "".join(text for text, _ in body[:at])
        said: list[str] = []
        for text, weight in body[at:]:
            if weight < TEXT:
                break
            said.append(text)
        answer = "".join(said).strip()
        return fm.chat([("user", before), ("assistant", answer)])
