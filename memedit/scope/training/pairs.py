"""Pairs of a prompt and an edit whose subject is hidden, with what the one is to the other.

Hidden subjects make a pair a question about relations alone, so that what is learnt of one
subject holds for all, and a few thousand facts give tens of thousands of different pairs.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memedit.indexes.names import names_of, words_of
from memedit.scope.pair_input import HIDDEN
from memedit.scope.split import held_out_subject
from memedit.scope.subjects import find_mention
from memedit.scope.training.facts import SKIPPED_TOPICS, Fact
from memedit.types import ScopeLabel

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]

PRESUMED = "presumed "
"""Begins the kind of a pair whose two facts only look like different relations.

Most benchmarks name no relations, so that two ways of asking one relation may stand as two.
"""

_NOUN = re.compile(
    rf"^(?:What|Who|Which)? ?(?:is|are|was|were)? ?([Tt]he (?:name of the )?[^?.,]*{HIDDEN})"
    r"(?: is| are| was)?[?.]?$"
)
_FRAMES = (
    "{}",
    "Do you know this? {}",
    "Please answer briefly: {}",
    "Quick question. {}",
    "I was wondering: {}",
    "Q: {} A:",
    "Hi! {} Thanks!",
    "{} Answer in one word.",
    "{} Please explain.",
    "{} I need it for school.",
    "My colleague asked me: {}",
    "I'm preparing a talk and got stuck here. {}",
    "You are a helpful assistant. {}",
    "Complete the sentence: {}",
    "Sorry to bother you again, but {}",
    "{} Just curious.",
    "Someone told me something else, so please check: {}",
    "Before we go on, one thing. {}",
)
_SURNAMES = [
    "Hilton",
    "Marley",
    "Jackson",
    "County",
    "University",
    "Street",
    "River",
    "Smith",
    "Johnson",
    "Park",
    "II",
    "Junior",
    "Airport",
    "Museum",
    "Records",
    "Festival",
    "Islands",
    "Bridge",
    "Tower",
]


@dataclass(frozen=True, slots=True)
class Pair:
    """What a classifier sees of a prompt and an edit, and what it should say."""

    prompt: str
    edit: str
    label: ScopeLabel
    kind: str
    answer: str = ""
    """The edit's new one, where it is known."""


@dataclass(frozen=True, slots=True)
class _Entry:
    prompt: str
    """The fact's own prompt, subject hidden."""
    direct: tuple[str, ...]
    dependent: tuple[str, ...]
    unrelated: tuple[str, ...]
    relation: int
    answer: str


def held_out(fact: Fact) -> bool:
    """Tell whether a fact is kept for measuring: a fifth of the subjects, and four topics."""
    if fact.source.removeprefix("hallu/") in SKIPPED_TOPICS:
        return True
    return held_out_subject(fact.request.subject)


def hide(text: str, subject: str, aliases: Sequence[str] = ()) -> str | None:
    """Put ``HIDDEN`` where a text names the subject as a whole, or return ``None``."""
    mention = find_mention(words_of(text), names_of(subject, aliases))
    if mention is None or mention.coverage < 1:
        return None
    return text[: mention.start] + HIDDEN + text[mention.end :]


def make_pairs(facts: Sequence[Fact], encode: Encode, seed: int = 7) -> list[Pair]:
    """Make the training pairs of all facts that are not held out; the same for the same seed.

    ``encode`` tells which prompts ask alike where a file does not name its relations.
    """
    entries = _entries([fact for fact in facts if not held_out(fact)])
    texts = sorted({text for entry in entries for text in (entry.prompt, *entry.direct)})
    vectors = encode([text.replace(HIDDEN, "it") for text in texts])
    place = {text: i for i, text in enumerate(texts)}
    maker = _Maker(entries, vectors, place, random.Random(seed))
    pairs = {
        (pair.prompt, pair.edit): pair
        for pair in sorted(maker.pairs(), key=lambda pair: pair.label is not ScopeLabel.UNRELATED)
    }  # where two files disagree, an edit that concerns the prompt is right
    made = sorted(pairs.values(), key=lambda pair: (pair.prompt, pair.edit))
    random.Random(seed).shuffle(made)
    return made


def _entries(facts: Sequence[Fact]) -> list[_Entry]:
    rows = []
    for fact in facts:
        subject = fact.request.subject
        prompt = hide(fact.request.prompt, subject)
        if prompt is None:
            continue
        asked: dict[ScopeLabel, dict[str, None]] = defaultdict(dict)
        for one in fact.asked:
            text = hide(one.text, subject)
            if text is not None and one.kind != "Logical_Generalization":
                asked[one.label].setdefault(text)
        rows.append((fact, prompt, asked))
    relations = _relations([(f.source, f.relation, (p, *a[ScopeLabel.DIRECT])) for f, p, a in rows])
    return [
        _Entry(
            prompt,
            tuple(asked[ScopeLabel.DIRECT]),
            tuple(asked[ScopeLabel.DEPENDENT]),
            tuple(asked[ScopeLabel.UNRELATED]),
            relation,
            fact.request.target_new,
        )
        for (fact, prompt, asked), relation in zip(rows, relations, strict=True)
    ]


def _relations(rows: Sequence[tuple[str, str | None, tuple[str, ...]]]) -> list[int]:
    """Give each fact the number of its relation: facts that share a wording are of one."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, (source, relation, texts) in enumerate(rows):
        keys = [f"{source.split('/')[0]}\n{relation}"] if relation else []
        keys += [text.casefold().strip(" ?.") for text in texts]
        for key in keys:
            parent[root(first.setdefault(key, i))] = root(i)
    return [root(i) for i in range(len(rows))]


class _Maker:
    def __init__(
        self,
        entries: Sequence[_Entry],
        vectors: npt.NDArray[np.float32],
        place: dict[str, int],
        rng: random.Random,
    ) -> None:
        self._entries = entries
        self._vectors = vectors
        self._place = place
        self._rng = rng
        nouns: dict[str, tuple[str, _Entry]] = {}
        for entry in entries:
            for text in (entry.prompt, *entry.direct):
                match = _NOUN.match(text)
                if match and len(match[1].split()) <= 10:
                    nouns.setdefault(match[1][0].lower() + match[1][1:], (text, entry))
        self._nouns = sorted(nouns.items(), key=lambda item: item[0])

    def pairs(self) -> Iterator[Pair]:
        for entry in self._entries:
            yield from self._of(entry)

    def _of(self, entry: _Entry) -> Iterator[Pair]:
        rng = self._rng
        edits = [entry.prompt, *(text for text in entry.direct if not text.startswith("Is "))]

        def edit() -> str:
            return entry.prompt if rng.random() < 0.6 else rng.choice(edits)

        for text in entry.direct:
            yield self._pair(entry, text, edit(), ScopeLabel.DIRECT, "direct")
        if rng.random() < 0.15:
            yield self._pair(entry, entry.prompt, edit(), ScopeLabel.DIRECT, "same")
        for text in entry.dependent:
            yield self._pair(entry, text, edit(), ScopeLabel.DEPENDENT, "chain")
        for text in entry.unrelated:
            yield self._pair(entry, text, edit(), ScopeLabel.UNRELATED, "given")
        for other in rng.sample(self._entries, 12):
            mine = edit()
            alike = self._alike(other, entry)
            if other.relation == entry.relation or alike > 0.72:
                continue
            # the nearer, the more instructive
            if rng.random() < 0.15 + max(0.0, alike):
                text = rng.choice((other.prompt, *other.direct))
                yield self._pair(entry, text, mine, ScopeLabel.UNRELATED, PRESUMED + "other")
            if other.dependent and alike < 0.5 and rng.random() < 0.7:
                text = rng.choice(other.dependent)
                yield self._pair(entry, text, mine, ScopeLabel.UNRELATED, PRESUMED + "other chain")
        if rng.random() < 0.5:
            yield from self._composed(entry, edit())
        if rng.random() < 0.12:
            longer = longer_name(rng, rng.choice((entry.prompt, *entry.direct)))
            yield self._pair(entry, longer, edit(), ScopeLabel.UNRELATED, "longer name")

    def _composed(self, entry: _Entry, edit: str) -> Iterator[Pair]:
        """Chain two prompts: the chain depends on the inner relation, and not on the outer one."""
        noun, (inner, of) = self._rng.choice(self._nouns)
        if of.relation == entry.relation or self._alike(of, entry) > 0.6:
            return
        outer = self._rng.choice((entry.prompt, *entry.direct))
        chain = outer.replace(HIDDEN, noun)
        yield self._pair(of, chain, inner, ScopeLabel.DEPENDENT, "composed")
        yield self._pair(entry, chain, edit, ScopeLabel.UNRELATED, PRESUMED + "outer")

    def _alike(self, one: _Entry, other: _Entry) -> float:
        pair = [self._vectors[self._place[it.prompt]] for it in (one, other)]
        return float(pair[0] @ pair[1])

    def _pair(self, of: _Entry, prompt: str, edit: str, label: ScopeLabel, kind: str) -> Pair:
        """Make a pair whose edit is that of the entry ``of``."""
        return Pair(varied(self._rng, prompt, self._another), edit, label, kind, of.answer)

    def _another(self) -> str:
        return self._rng.choice(self._entries).prompt


def longer_name(rng: random.Random, text: str) -> str:
    """Return a text about somebody whose name begins with the hidden subject's."""
    return text.replace(HIDDEN, f"{HIDDEN} {rng.choice(_SURNAMES)}")


def varied(rng: random.Random, prompt: str, another: Callable[[], str]) -> str:
    """Return a prompt as people type it: sometimes framed, in small letters, or one of two.

    ``another`` gives a prompt about some other subject, ``HIDDEN`` for its name.
    """
    if rng.random() < 0.12:
        prompt = rng.choice(_FRAMES).format(prompt)
    if rng.random() < 0.1:
        prompt = prompt.lower().rstrip("?. ")
    if rng.random() < 0.04:
        other = another().replace(HIDDEN, rng.choice(_SURNAMES))
        prompt = f"{prompt} {other}" if rng.random() < 0.5 else f"{other} {prompt}"
    elif rng.random() < 0.03:
        other = another().replace(HIDDEN, rng.choice(_SURNAMES)).rstrip("?. ")
        first, second = rng.sample((prompt.rstrip("?. "), other[0].lower() + other[1:]), 2)
        prompt = f"{first}{rng.choice((', and ', ' and ', '; '))}{second}?"
    return prompt
