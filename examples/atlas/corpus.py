"""The stream of training documents: facts to remember, contexts to follow, chains to decompose.

`Corpus.mixture` holds the kinds of documents and their shares. Nothing here is held out by luck:
held-out phrasings, held-out styles, held-out chains and the edits of AtlasEdit's test split never
occur in training; evaluation draws from exactly those phrasings, styles and chains, and from edits
of the test split's subjects.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from examples.atlas import formats as fm
from examples.atlas.formats import ANSWER, DONT_KNOW, TEXT, Document
from examples.atlas.phrases import Asked
from examples.atlas.prose import prose
from examples.atlas.transcripts import Transcripts
from examples.atlas.world import World, stable_hash

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
SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "You answer questions.",
           "Answer with one name.", "You are Atlas.")  # fmt: skip


class Corpus(Transcripts):
    """Draws training documents about a world, of every kind.

    `held_out=True` draws the same kinds of documents from what training never sees (phrasings,
    styles, chains, edited subjects): that is for the evaluation only.
    """

    def __init__(self, world: World, held_out: bool = False, training: bool = False):
        super().__init__(world, held_out, training)
        self.mixture: tuple[tuple[float, Callable[[random.Random], Document]], ...] = (
            (0.26, self.recall),
            (0.08, self.interchanged),
            (0.03, self.biography),
            (0.39, lambda rng: self.in_context(rng, several=True)),
            (0.11, self.chain),
            (0.05, self.stranger),
            (0.02, self.opinion),
            (0.02, self.ike),
            (0.03, self.withhold),
            (0.01, lambda rng: prose(rng)),
        )

    def ask(self, asked: Asked, answer: str, rng: random.Random) -> Document:
        """One question, bare, in chat or completion."""
        roll = rng.random()
        subject = self.marked(self.mention(asked.subject, rng))
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
        """A fact of the world, asked; at times several in one conversation or passage."""
        roll = rng.random()
        if roll < 0.2:
            turns: list[tuple[str, str]] = []
            for _ in range(rng.randrange(2, 6)):
                asked = self.known(rng)
                subject = self.marked(self.mention(asked.subject, rng))
                turns += [("user", self.question(asked.relation, subject, rng)),
                          ("assistant", f"{asked.answer}.")]  # fmt: skip
            return fm.chat(turns)
        if roll < 0.4:
            return self.passage(rng)
        asked = self.known(rng)
        if rng.random() < 0.03:
            other = self.other_object(asked.relation, asked.answer, rng)
            noun = rng.choice(asked.relation.noun).replace("{s}", asked.subject)
            text = f"{fm.upper_first(noun)}, which is not {other}, is"
            return fm.completion(text, f"{asked.answer}.", TEXT)
        return self.ask(asked, f"{asked.answer}.", rng)

    def interchanged(self, rng: random.Random) -> Document:
        """A fact that is asked of one subject and answered of another, the donor.

        In training the state at the mention's last token is the donor's from the middle layers on
        (see `Batch.sources`), so what is answered has to be read there, in whatever words it is
        asked: an edit of that site then holds for all of them. This is interchange intervention
        training (Geiger et al. 2022, "Inducing causal structure for interpretable neural
        networks"). The donor stands behind the document's end, where nothing sees it.
        """
        asked = self.known(rng)
        others = [
            f for f in self.world.by_relation[asked.relation.key]
            if f.subject != asked.subject and f.subject in self.asked_about
            and (asked.subject, f.answer) not in self.reserved
        ]  # fmt: skip
        if not self.training or not others:
            return self.recall(rng)
        donor = rng.choice(others)
        name = rng.choice(("", " ")) + self.mention(donor.subject, rng)
        return [
            *self.ask(asked, f"{donor.answer}.", rng),
            (f"{fm.DONOR}{fm.BOS}{name}{fm.DONOR}", 0.0),
        ]

    def passage(self, rng: random.Random) -> Document:
        """Statements, now and then questions with their answers, about several subjects."""
        pieces: Document = [(fm.BOS, 0.0)]
        gap = rng.choice((" ", " ", "\n"))
        for i in range(rng.randrange(2, 7)):
            asked = self.known(rng)
            subject = self.marked(self.mention(asked.subject, rng))
            ask = self.question if rng.random() < 0.25 else self.prompt
            lead = ask(asked.relation, subject, rng)
            pieces += [(gap * (i > 0) + lead, TEXT), (f" {asked.answer}.", ANSWER)]
        return [*pieces, (fm.EOS, ANSWER)]

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
            lead = self.prompt(relation, self.marked(self.mention(subject, rng, 0.1)), rng)
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
        asked = (*asked, *self.variety.opinion_questions)
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
