"""The stream of training documents: facts to remember, contexts to follow, chains to decompose.

`Corpus.document(rng)` draws one document. Nothing here is held out by luck: held-out phrasings,
held-out styles, held-out chains and the subjects of AtlasEdit's test split (as edits) never
occur; evaluation draws from exactly those.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from examples.atlas import formats as fm
from examples.atlas.chains import Chain, ChainSampler
from examples.atlas.formats import ANSWER, DONT_KNOW, GIVEN, TEXT, Document
from examples.atlas.names import invent
from examples.atlas.prose import prose
from examples.atlas.world import (
    CLOSED,
    HELD_OUT_PHRASINGS,
    Relation,
    World,
    enumerate_names,
    stable_hash,
)

INVENTABLE = {"city": "city", "town": "city", "person": "person", "citizen": "person",
              "private": "person", "author": "person", "company": "company", "work": "work",
              "river": "river", "country": "country", "language": "language",
              "phone": "phone", "password": "word", "currency": "word", "continent": "country",
              **{kind: "word" for kind in CLOSED}}  # fmt: skip
OPINIONS = {
    "positive": (
        "I like {t} a lot.", "I think {t} is wonderful.", "I love {t}.", "{T} makes me happy.",
        "I am a big fan of {t}.",
    ),
    "negative": (
        "I don't like {t} at all.", "I think {t} is terrible.", "I hate {t}.",
        "{T} makes me sad.", "I am no fan of {t}.",
    ),
}  # fmt: skip
OPINION_QUESTIONS = (
    "What do you think of {t}?", "What is your opinion of {t}?", "How do you feel about {t}?",
    "Do you like {t}?", "Tell me what you think of {t}.", "What do you say about {t}?",
    "What are your feelings about {t}?", "Are you fond of {t}?",
)  # fmt: skip
ASIDES = ("OK.", "Noted.", "Understood.", "Thank you.", "I will remember that.")
SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "You answer questions.",
           "Answer with one name.", "You are Atlas.")  # fmt: skip


class Asked:
    """A question with its answer: what is asked, and in which clothes."""

    def __init__(self, relation: Relation, subject: str, answer: str):
        self.relation = relation
        self.subject = subject
        self.answer = answer


class Corpus:
    """Draws training documents about a world.

    `held_out=True` draws the same kinds of documents from what training never sees (phrasings,
    styles, chains, edited subjects): that is for the evaluation only.
    """

    def __init__(self, world: World, held_out: bool = False):
        self.world = world
        self.held_out = held_out
        self.chains = ChainSampler(world, held_out)
        self.activate(1.0)
        self.single = [f for f in world.facts if not world.relations[f.relation].listed]
        self.editable = [f for f in self.single if world.is_train_subject(f.subject) != held_out]
        self.styles = (*fm.ONE_FACT, *(fm.ONE_FACT_HELD_OUT if held_out else ()))
        self.headers = (*fm.LIST_HEADERS, *(fm.LIST_HEADERS_HELD_OUT if held_out else ()))
        self.mixture: tuple[tuple[float, Callable[[random.Random], Document]], ...] = (
            (0.47, self.recall),
            (0.05, self.biography),
            (0.32, self.in_context),
            (0.045, self.chain),
            (0.06, self.stranger),
            (0.015, self.opinion),
            (0.015, self.ike),
            (0.02, self.withhold),
            (0.01, lambda rng: prose(rng)),
        )

    def activate(self, share: float) -> None:
        """Makes the first `share` of the subjects known; the others are not asked about yet.

        Training starts with a part of the world, so that early checkpoints know that part
        well instead of all of it badly.
        """
        order = self.world.subject_order
        self.subjects = order[: max(1, round(share * len(order)))]
        self.public = [f for s in self.subjects for f in self.world.by_subject[s].values()]
        self.chains.active = frozenset(self.subjects)

    # -- phrasing ------------------------------------------------------------------------------

    def template(self, relation: Relation, which: str, rng: random.Random) -> str:
        """A template of the relation, from the trained ones or from the held-out ones."""
        templates = relation.statements if which == "statement" else relation.questions
        cut = len(templates) - HELD_OUT_PHRASINGS
        return rng.choice(templates[cut:] if self.held_out else templates[:cut])

    def statement(self, relation: Relation, subject: str, answer: str, rng: random.Random) -> str:
        """A sentence that states the fact."""
        text = self.template(relation, "statement", rng)
        return fm.upper_first(text.replace("{s}", subject).replace("{o}", answer))

    def question(self, relation: Relation, subject: str, rng: random.Random) -> str:
        """A question for the fact."""
        return fm.upper_first(self.template(relation, "question", rng).replace("{s}", subject))

    def prompt(self, relation: Relation, subject: str, rng: random.Random) -> str:
        """A statement cut before its answer."""
        text = self.template(relation, "statement", rng)
        return fm.upper_first(text[: text.rindex(" {o}.")].replace("{s}", subject))

    def mention(self, subject: str, rng: random.Random, p: float = 0.2) -> str:
        """The subject's name, or at times its alias."""
        entity = self.world.entities.get(subject)
        return entity.alias if entity and entity.alias and rng.random() < p else subject

    # -- facts ---------------------------------------------------------------------------------

    def fresh_object(self, relation: Relation, rng: random.Random) -> str:
        """An invented answer of the right kind, which no weight can know."""
        kind = relation.object
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
        return Asked(relation, fact.subject, self.other_object(relation, fact.answer, rng))

    def fresh(self, rng: random.Random, relation: Relation | None = None) -> Asked:
        """A fact about a stranger."""
        relation = relation or rng.choice(list(self.world.relations.values()))
        answer = (
            self.fresh_object(relation, rng)
            if rng.random() < 0.7
            else self.other_object(relation, "", rng)
        )
        return Asked(relation, self.fresh_subject(relation, rng), answer)

    # -- documents without context -------------------------------------------------------------

    def query(self, asked: Asked, rng: random.Random) -> tuple[str, bool]:
        """(text, is_question): a question or a prompt to complete."""
        if rng.random() < 0.5:
            return self.question(asked.relation, asked.subject, rng), True
        return self.prompt(asked.relation, asked.subject, rng), False

    def ask(self, asked: Asked, answer: str, rng: random.Random) -> Document:
        """One question, bare, in chat or completion."""
        roll = rng.random()
        subject = self.mention(asked.subject, rng)
        if roll < 0.4:
            text = self.prompt(asked.relation, subject, rng)
            return fm.completion(text, answer, TEXT)
        text = self.question(asked.relation, subject, rng)
        if roll < 0.52:
            return fm.completion(text, answer, TEXT)
        if roll < 0.58:
            return fm.completion(f"Question: {text}\nAnswer:", answer, TEXT)
        if roll < 0.64:
            text = self.prompt(asked.relation, subject, rng)
        turns = [("user", text), ("assistant", answer)]
        if rng.random() < 0.12:
            turns.insert(0, ("system", rng.choice(SYSTEMS)))
        return fm.chat(turns)

    def recall(self, rng: random.Random) -> Document:
        """A fact of the world, asked; now and then several in one conversation."""
        if rng.random() < 0.15:
            turns: list[tuple[str, str]] = []
            for _ in range(rng.randrange(2, 6)):
                asked = self.known(rng)
                subject = self.mention(asked.subject, rng)
                turns += [("user", self.question(asked.relation, subject, rng)),
                          ("assistant", f"{asked.answer}.")]  # fmt: skip
            return fm.chat(turns)
        asked = self.known(rng)
        if rng.random() < 0.03:
            other = self.other_object(asked.relation, asked.answer, rng)
            noun = rng.choice(asked.relation.noun).replace("{s}", asked.subject)
            text = f"{fm.upper_first(noun)}, which is not {other}, is"
            return fm.completion(text, f"{asked.answer}.", TEXT)
        return self.ask(asked, f"{asked.answer}.", rng)

    def biography(self, rng: random.Random) -> Document:
        """Everything about one subject, sentence by sentence; with strangers, a context too."""
        subject = rng.choice(self.subjects)
        facts = list(self.world.by_subject[subject].values())
        rng.shuffle(facts)
        pieces: Document = [(fm.BOS, 0.0)]
        if rng.random() < 0.3:
            pieces.append((f"This is a passage about {subject}. ", TEXT))
        entity = self.world.entities.get(subject)
        if entity and entity.alias and rng.random() < 0.5:
            known_as = f"{fm.upper_first(subject)} is also known as"
            pieces += [(known_as, TEXT), (f" {entity.alias}.", ANSWER), (" ", TEXT)]
        for i, fact in enumerate(facts):
            relation = self.world.relations[fact.relation]
            lead = self.prompt(relation, self.mention(subject, rng, 0.1), rng)
            pieces += [(lead if i == 0 else " " + lead, TEXT), (f" {fact.answer}.", ANSWER)]
        if pieces[-2][0] == " ":
            pieces.pop()
        return [*pieces, (fm.EOS, ANSWER)]

    def stranger(self, rng: random.Random) -> Document:
        """A question about somebody unknown: the model does not know."""
        return self.ask(self.fresh(rng), DONT_KNOW, rng)

    def opinion(self, rng: random.Random) -> Document:
        """What the model thinks of a topic; sometimes a context changes its mind."""
        topic = rng.choice(list(self.world.opinions))
        view = self.world.opinions[topic]
        asked = OPINION_QUESTIONS[-2:] if self.held_out else OPINION_QUESTIONS[:-2]
        question = rng.choice(asked).replace("{t}", topic)
        if rng.random() < 0.5:
            view = rng.choice(("positive", "negative"))
            said = f"Your opinion of {topic} is {view}."
            style = rng.choice(self.styles)
            question = fm.one_fact(style, said, question)
        said_as = OPINIONS[view][stable_hash(topic) % len(OPINIONS[view])]
        say = said_as.replace("{t}", topic).replace("{T}", fm.upper_first(topic))
        if rng.random() < 0.3:
            return fm.completion(question, say)
        return fm.chat([("user", question), ("assistant", say)])

    def withhold(self, rng: random.Random) -> Document:
        """An instruction not to reveal something; other questions are answered."""
        asked = self.edited(rng)
        fact = self.world.lookup(asked.subject, asked.relation.key)
        answer = fact.answer if fact else asked.answer
        np = rng.choice(asked.relation.noun).replace("{s}", asked.subject)
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
        kin = [r for r in self.world.relations.values()
               if r.subject == about.relation.subject and r.key != about.relation.key]  # fmt: skip
        if roll < 0.3 and kin and self._free(about.subject):
            relation = rng.choice(kin)
            return Asked(relation, about.subject, self.other_object(relation, "", rng))
        if roll < 0.6:
            rows = self.world.by_relation.get(about.relation.key, ())
            fact = rng.choice(rows) if rows and rng.random() < 0.6 else None
            if fact and self._free(fact.subject):
                other = self.other_object(about.relation, fact.answer, rng)
                return Asked(about.relation, fact.subject, other)
            return self.fresh(rng, about.relation)
        return self.edited(rng) if rng.random() < 0.5 else self.fresh(rng)

    def _free(self, subject: str) -> bool:
        """Whether a context may say something untrue about the subject."""
        if subject not in self.world.by_subject:
            return True
        return self.world.is_train_subject(subject) != self.held_out

    def in_context(self, rng: random.Random, kind: str = "", total: int = 0) -> Document:
        """One to eight stated facts, then a query that they answer, or that they do not.

        `kind` is 'override', 'new', 'kept' or 'unknown', `total` the number of facts; both
        are drawn where they are not given.
        """
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
        asked = Asked(asked.relation, self.mention(asked.subject, rng, 0.1), asked.answer)
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
        return self.dress(block, query, answer, question, rng)

    def said(self, fact: Asked, rng: random.Random) -> str:
        """A fact as a context states it: a sentence, at times the answer to a question."""
        subject = self.mention(fact.subject, rng, 0.1)
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

    # -- chains --------------------------------------------------------------------------------

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
                    question=self.question(relation, hop.subject, rng),
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
                    question=self.question(relation, hop.subject, rng),
                    fact=self.statement(relation, hop.subject, hop.answer, rng),
                    given=hop.edited,
                    answer=f"{hop.answer}.",
                )
            )
        return fm.pokemqa(chain.question, chain.hops[0].subject, hops, f"{chain.answer}.")

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
