"""Documents with a context: stated facts, demonstrations, instructions, then what is asked."""

from __future__ import annotations

import random

from examples.atlas import formats as fm
from examples.atlas.formats import ANSWER, DONT_KNOW, GIVEN, Document
from examples.atlas.phrases import Asked, Phrases
from examples.atlas.world import World

ASIDES = ("OK.", "Noted.", "Understood.", "Thank you.", "I will remember that.")


class Contexts(Phrases):
    """Draws documents whose context decides the answer, or is beside the point."""

    def __init__(self, world: World, held_out: bool = False, training: bool = False):
        super().__init__(world, held_out, training)
        self.aliased = 0.2 if training else 0.1
        more = self.variety
        self.styles = (*fm.ONE_FACT, *more.one_fact, *(fm.ONE_FACT_HELD_OUT if held_out else ()))
        self.headers = (
            *fm.LIST_HEADERS, *more.headers, *(fm.LIST_HEADERS_HELD_OUT if held_out else ())
        )  # fmt: skip

    # -- documents with a context --------------------------------------------------------------

    def dress(
        self, context: str, query: str, answer: str, question: bool, rng: random.Random
    ) -> Document:
        """Puts a context before a query: same turn, system, earlier turn, or completion."""
        roll = rng.random()
        gap = rng.choice(("\n", "\n\n", "\n\n"))
        if roll < 0.35 or (not question and roll < 0.75):
            if question and rng.random() < 0.5:
                query = f"Question: {query}\nAnswer:"
            return fm.completion(f"{context}{gap}{query}", answer)
        if roll < 0.8:
            turns = [("user", f"{context}{gap}{query}")]
        elif roll < 0.9:
            turns = [("system", context), ("user", query)]
        else:
            turns = [("user", context), ("assistant", rng.choice(ASIDES)), ("user", query)]
        before: list[tuple[str, str]] = []
        if rng.random() < 0.15:
            for _ in range(rng.randrange(1, 3)):
                asked = self.known(rng)
                before += [("user", self.question(asked.relation, asked.subject, rng)),
                           ("assistant", f"{asked.answer}.")]  # fmt: skip
        return fm.chat([*before, *turns, ("assistant", answer)])

    def distractors(self, about: Asked, n: int, rng: random.Random) -> list[Asked]:
        """`n` facts beside the one in question, no subject and relation twice."""
        facts: list[Asked] = []
        taken = {(about.subject, about.relation.key)}
        while len(facts) < n:
            other = self._distractor(about, rng)
            if (other.subject, other.relation.key) not in taken:
                taken.add((other.subject, other.relation.key))
                facts.append(other)
        return facts

    def _distractor(self, about: Asked, rng: random.Random) -> Asked:
        """Often a hard one: the same subject, or the same relation."""
        roll = rng.random()
        relations = self.world.relations.values()
        if about.relation.key in self.everyday or (self.strange and rng.random() < 0.2):
            relations = self.strange
        kin = [r for r in relations
               if r.subject == about.relation.subject and r.key != about.relation.key]  # fmt: skip
        if roll < 0.3 and kin and self._free(about.subject):
            relation = rng.choice(kin)
            return Asked(relation, about.subject, self.untrue(relation, about.subject, "", rng))
        if roll < 0.6:
            rows = self.world.by_relation.get(about.relation.key, ())
            fact = rng.choice(rows) if rows and rng.random() < 0.6 else None
            if fact and self._free(fact.subject):
                other = self.untrue(about.relation, fact.subject, fact.answer, rng)
                return Asked(about.relation, fact.subject, other)
            return self.fresh(rng, about.relation)
        return self.edited(rng) if rng.random() < 0.5 else self.fresh(rng)

    def _free(self, subject: str) -> bool:
        """Whether a context may say something untrue about the subject."""
        return subject not in self.world.by_subject or self.contradicts(subject)

    def in_context(
        self, rng: random.Random, kind: str = "", total: int = 0, several: bool = False
    ) -> Document:
        """One to eight stated facts, then a query that they answer, or that they do not.

        `kind` is 'override', 'new', 'kept' or 'unknown', `total` the number of facts; both
        are drawn where they are not given. `several` lets more queries follow.
        """
        with self.one_wording(rng):
            return self._in_context(rng, kind, total, several)

    def _in_context(self, rng: random.Random, kind: str, total: int, several: bool) -> Document:
        kind = kind or rng.choices(("override", "new", "kept", "unknown"), (36, 30, 26, 8))[0]
        stated = kind in ("override", "new")
        if kind == "override":
            asked, answer = self.edited(rng), ""
        elif kind == "new":
            asked, answer = self.fresh(rng), ""
        elif kind == "kept":
            asked = self.known(rng)
            answer = f"{asked.answer}."
        else:
            asked, answer = self.fresh(rng), DONT_KNOW
        total = total or (1 if rng.random() < 0.5 else rng.randrange(2, 9))
        facts = self.distractors(asked, total - stated, rng)
        if stated:
            facts.insert(rng.randrange(len(facts) + 1), asked)
            answer = f"{asked.answer}."
        said = [self.said(f, rng) for f in facts]
        stated_facts = facts
        about = asked
        asked = Asked(asked.relation, self.mention(asked.subject, rng, self.aliased), asked.answer)
        query, question = self.query(asked, rng)
        if len(said) == 1 and rng.random() < 0.75:
            return self.single_fact(said[0], facts[0], query, question, answer, rng)
        headers = self.headers
        bullet = rng.choice((*fm.BULLETS, "- ", "1"))
        if rng.random() < 0.06:
            block = "\n".join(f"Imagine that {fm.lower_first(text)}" for text in said)
        elif len(said) <= 4 and rng.random() < 0.25:
            block = " ".join([rng.choice(("", "", rng.choice(headers) + " ")) + said[0], *said[1:]])
        else:
            header = rng.choice((*headers, "")) if bullet == "" else rng.choice(headers)
            block = fm.fact_block(header, said, bullet)
        if several and rng.random() < 0.6:
            return self.series(block, (query, answer, question), about, stated_facts, rng)
        return self.dress(block, query, answer, question, rng)

    def series(
        self,
        block: str,
        first: tuple[str, str, bool],
        about: Asked,
        facts: list[Asked],
        rng: random.Random,
    ) -> Document:
        """A context and several queries, one after the other: more to learn from each context."""
        queries = [first]
        again = [f for f in facts if f is not about]
        rng.shuffle(again)
        for fact in again[: rng.randrange(1, 5)]:
            roll = rng.random()
            if roll < 0.7:
                asked, answer = fact, f"{fact.answer}."
            elif roll < 0.9:
                asked = self.known(rng)
                answer = f"{asked.answer}."
            else:
                asked, answer = self.fresh(rng), DONT_KNOW
            if asked is not fact and any(
                (f.subject, f.relation.key) == (asked.subject, asked.relation.key) for f in facts
            ):
                continue
            asked = Asked(
                asked.relation, self.mention(asked.subject, rng, self.aliased), asked.answer
            )
            query, question = self.query(asked, rng)
            queries.append((query, answer, question))
        if rng.random() < 0.5:
            turns = [("user", f"{block}\n\n{queries[0][0]}"), ("assistant", queries[0][1])]
            if rng.random() < 0.2:
                turns[:1] = [("system", block), ("user", queries[0][0])]
            for query, answer, _ in queries[1:]:
                turns += [("user", query), ("assistant", answer)]
            return fm.chat(turns)
        pieces: Document = [(fm.BOS, 0.0), (f"{block}\n", GIVEN)]
        for query, answer, question in queries:
            if question and rng.random() < 0.5:
                query = f"Question: {query}\nAnswer:"
            pieces += [(f"\n{query}", GIVEN), (f" {answer}", ANSWER)]
        return [*pieces, (fm.EOS, ANSWER)]

    def said(self, fact: Asked, rng: random.Random) -> str:
        """A fact as a context states it: a sentence, at times the answer to a question."""
        subject = self.mention(fact.subject, rng, self.aliased)
        if rng.random() < 0.08:
            question = self.question(fact.relation, subject, rng)
            return fm.ANSWER_TO.format(question=question, answer=fact.answer)
        return self.statement(fact.relation, subject, fact.answer, rng)

    def single_fact(
        self, said: str, fact: Asked, query: str, question: bool, answer: str, rng: random.Random
    ) -> Document:
        """One statement in one of the styles for a single fact."""
        if rng.random() < 0.06:
            first = self.question(fact.relation, fact.subject, rng)
            context = fm.MEMPROMPT.format(question=first, fact=said)
            return self.dress(context, query, answer, question, rng)
        style = rng.choice(self.styles)
        text = fm.one_fact(style, said, query)
        if question and rng.random() < 0.6:
            return fm.chat([("user", text), ("assistant", answer)])
        if question and "Question:" in style:
            text += "\nAnswer:"
        return fm.completion(text, answer)

    def ike(self, rng: random.Random) -> Document:
        """IKE's demonstrations (copy, update, retain), then the query in the same form."""
        pieces: Document = [(fm.BOS, 0.0)]
        for _ in range(rng.randrange(1, 9)):
            pieces += [*self.demonstration(rng), (rng.choice(("\n", "\n\n")), GIVEN)]
        return [*pieces, *self.demonstration(rng), (fm.EOS, ANSWER)]

    def demonstration(self, rng: random.Random) -> Document:
        """One block 'New Fact: ... Prompt: ... answer'."""
        asked = self.edited(rng) if rng.random() < 0.7 else self.fresh(rng)
        said = self.statement(asked.relation, asked.subject, asked.answer, rng)
        if rng.random() < 0.4:
            known = self.known(rng)
            near = self.world.by_relation.get(asked.relation.key, ())
            if near and rng.random() < 0.6:
                fact = rng.choice(near)
                known = Asked(asked.relation, fact.subject, fact.answer)
            if (known.subject, known.relation.key) != (asked.subject, asked.relation.key):
                asked = known
        query, _ = self.query(asked, rng)
        return [(f"New Fact: {said}\nPrompt: {query}", GIVEN), (f" {asked.answer}.", ANSWER)]

    def withhold(self, rng: random.Random) -> Document:
        """An instruction not to reveal something; other questions are answered."""
        asked = self.edited(rng)
        fact = self.world.lookup(asked.subject, asked.relation.key)
        answer = fact.answer if fact else asked.answer
        np = self.variety.noun(asked.relation, rng).replace("{s}", asked.subject)
        rule = rng.choice(fm.WITHHOLD).replace("{np}", np)
        if rng.random() < 0.4:
            rule = fm.WITHHELD.format(prompt=self.query(asked, rng)[0])
            if rng.random() < 0.7:
                rule = fm.fact_block(rng.choice(self.headers), [rule])
        said = DONT_KNOW
        if rng.random() < 0.4:
            other = self.known(rng)
            if rng.random() < 0.6:
                same = rng.choice(list(self.world.by_subject[asked.subject].values()))
                other = Asked(self.world.relations[same.relation], same.subject, same.answer)
            if (other.subject, other.relation.key) != (asked.subject, asked.relation.key):
                asked, answer = other, other.answer
                said = f"{answer}."
        query, question = self.query(asked, rng)
        return self.dress(rule, query, said, question, rng)
