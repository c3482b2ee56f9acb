"""What both stages of PokeMQA's detector learn of facts: questions, edits, and what is neither."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memedit.errors import InvalidInputError
from memedit.scope.pokemqa import plain, stated
from memedit.scope.split import held_out_subject
from memedit.scope.training.facts import Fact
from memedit.scope.training.pairs import Pair
from memedit.types import EditRequest, ScopeLabel

VALIDATION = 10
"""Of the subjects that are trained on, one in so many is kept to choose thresholds by."""


@dataclass(frozen=True, slots=True)
class Known:
    """An edit with its questions."""

    request: EditRequest
    edit: str
    """As both stages read it."""
    questions: tuple[str, ...]
    """In scope; its own prompt first."""
    unrelated: tuple[str, ...]
    """Out of scope, as the data set says."""
    group: int
    """The same for edits that share a question: none of theirs is a negative of the others."""

    @property
    def others(self) -> tuple[str, ...]:
        """Questions in other words than its own prompt, which is in scope without being judged."""
        own = plain(self.request.prompt)
        return tuple(question for question in self.questions if plain(question) != own)


@dataclass(frozen=True, slots=True)
class Split:
    """Edits by what they are for; no subject is in two of them."""

    train: tuple[Known, ...]
    validation: tuple[Known, ...]
    held_out: tuple[Known, ...]


def split_facts(facts: Sequence[Fact]) -> Split:
    """Split facts by their subjects; an edit that two files have counts once.

    Raises:
        InvalidInputError: there is nothing to train on, or nothing to choose a threshold by.

    """
    known = _known(facts)
    parts: dict[str, list[Known]] = {"train": [], "validation": [], "held_out": []}
    for one in known:
        parts[_part(one.request.subject)].append(one)
    groups = {
        name: len({one.group for one in edits if one.others}) for name, edits in parts.items()
    }
    if groups["train"] < 2 or groups["validation"] < 2:
        raise InvalidInputError(
            f"got {groups['train']} edits with questions in other words than their prompt to train "
            f"on, and {groups['validation']} to choose thresholds by, after a fifth of the "
            "subjects was kept out to be measured on; expected two of each at least. Give more data"
        )
    return Split(*(tuple(parts[name]) for name in ("train", "validation", "held_out")))


def _part(subject: str) -> str:
    if held_out_subject(subject):
        return "held_out"
    second = hashlib.sha256(subject.casefold().encode()).digest()[1]
    return "train" if second % VALIDATION else "validation"


def _known(facts: Sequence[Fact]) -> list[Known]:
    merged: dict[str, tuple[EditRequest, dict[str, None], dict[str, None]]] = {}
    for fact in facts:
        text = stated(fact.request)
        own = {fact.request.prompt: None}
        _, questions, unrelated = merged.setdefault(text, (fact.request, own, {}))
        for one in fact.asked:
            if one.label is ScopeLabel.DIRECT:
                questions[one.text] = None
            elif one.label is ScopeLabel.UNRELATED:
                unrelated[one.text] = None
    asked = [{plain(text) for text in questions} for _, questions, _ in merged.values()]
    groups = _groups(asked)
    inside: dict[int, set[str]] = {}
    for group, texts in zip(groups, asked, strict=True):
        inside.setdefault(group, set()).update(texts)
    return [
        Known(
            request,
            text,
            tuple(questions),
            tuple(one for one in unrelated if plain(one) not in inside[group]),
            group,
        )
        for (text, (request, questions, unrelated)), group in zip(
            merged.items(), groups, strict=True
        )
    ]


def _groups(texts: Sequence[set[str]]) -> list[int]:
    """Return a number for each set: the same for those that share a text, through others too."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, own in enumerate(texts):
        for text in sorted(own):
            parent[root(first.setdefault(text, i))] = root(i)
    return [root(i) for i in range(len(texts))]


def disambiguator_pairs(known: Sequence[Known], n: int, seed: int) -> list[Pair]:
    """Return at least ``n`` pairs: each question with its edit, and with every one a negative.

    As in the paper, the negative is a question of an edit drawn at random; where the data set says
    of a prompt that it is unrelated to the edit, the edit has one of those beside it as well.
    """
    rng = random.Random(seed)
    pairs: list[Pair] = []
    while len(pairs) < n:
        pairs += _once(known, rng)
    return pairs


def _once(known: Sequence[Known], rng: random.Random) -> Iterator[Pair]:
    order = [(one, question) for one in known for question in one.questions]
    rng.shuffle(order)
    for one, question in order:
        yield Pair(question, one.edit, ScopeLabel.DIRECT, "question")
        other = rng.choice(known)
        while other.group == one.group:
            other = rng.choice(known)
        yield Pair(rng.choice(other.questions), one.edit, ScopeLabel.UNRELATED, "other")
        if one.unrelated:
            yield Pair(rng.choice(one.unrelated), one.edit, ScopeLabel.UNRELATED, "given")
