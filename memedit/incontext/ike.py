"""IKE: worked examples of what a new fact changes, and of what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from typing import Final, Self

from memedit.config import InContextSettings
from memedit.incontext.base import (
    Demonstrations,
    Encoder,
    InContextMethod,
    Insertion,
    Vectors,
)
from memedit.incontext.demonstrations import DemonstrationStore, Indexed, as_words
from memedit.incontext.fact import closed, sentence, sentences
from memedit.incontext.inert import inert
from memedit.registry import register
from memedit.types import Edit, Operation, Surface


class Kind(StrEnum):
    """What a demonstration shows."""

    COPY = "copy"
    """The fact's own prompt is answered with the fact."""
    UPDATE = "update"
    """So is a rephrase of it."""
    RETAIN = "retain"
    """A neighbour keeps its own answer."""


PATTERN: Final = (
    Kind.RETAIN,
    Kind.UPDATE,
    Kind.RETAIN,
    Kind.COPY,
    Kind.UPDATE,
    Kind.RETAIN,
    Kind.UPDATE,
    Kind.RETAIN,
)
"""Of every eight demonstrations, nearest first: 1 copy, 3 update, 4 retain, and so nearly of fewer.

The paper shuffles them; here the same query is to give the same prompt.
"""
_SPARE: Final = 4
"""So many times the wanted number are looked through: some lack a kind, or speak of the subject."""


@dataclass(frozen=True, slots=True)
class IkeConfig:
    """How much is shown."""

    most: int = 32
    """Demonstrations beside the edits' own; 0 shows none at all."""
    tokens: int = 2_048
    """Estimated tokens of all demonstrations; the farthest are left out first."""


@register("ike")
class Ike(InContextMethod):
    """``New Fact: {fact}``, ``Prompt: {query}``, and before them demonstrations of the same form.

    ``New Fact: {fact}`` / ``Prompt: {prompt} {answer}.`` of three kinds in the ratio 1:3:4: copy,
    update and retain; each of another fact, the nearest to the query by cosine, in the order of
    nearness with the nearest last; then the edits' own copies.  A demonstration never speaks of the
    subject of an edit that is applied.  The reference model was trained on this form.

    Source: Zheng et al. 2023, "Can We Edit Factual Knowledge by In-Context Learning?", section 3.
    """

    def __init__(
        self, store: DemonstrationStore | None = None, config: IkeConfig | None = None
    ) -> None:
        """Make one.

        Args:
            store: where demonstrations come from; ``None`` shows the edits' own alone.
            config: how much is shown.

        """
        self.config = config if config is not None else IkeConfig()
        self._store = store

    @classmethod
    def open(cls, encoder: Encoder, settings: InContextSettings) -> Self:
        """Open the store that the settings name; its vectors are those of ``encoder``.

        Raises:
            MissingResourceError: there are no demonstrations where the settings say.
            DatasetError: they cannot be read.

        """
        config = IkeConfig(settings.max_demonstrations, settings.demonstration_tokens)
        store = DemonstrationStore.open(settings.demonstrations, encoder) if config.most else None
        return cls(store, config)

    def demonstrations(
        self, vectors: Vectors, edits: Sequence[Sequence[Edit]]
    ) -> list[Demonstrations]:
        """Choose for each query; see ``InContextMethod.demonstrations``."""
        most = self.config.most
        near: list[tuple[Indexed, ...]] = [()] * len(edits)
        if self._store is not None and most:
            near = self._store.nearest(vectors, most * _SPARE)
        return [
            Demonstrations(
                (*chosen(found, theirs, most), *(own_copies(theirs) if most else ()))
            ).within(self.config.tokens)
            for found, theirs in zip(near, edits, strict=True)
        ]

    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        """Return one line per fact and the label of the prompt; the same on both surfaces."""
        facts = "".join(f"New Fact: {text}\n" for text in sentences(edits))
        return Insertion(f"{facts}Prompt: ")


def chosen(near: Sequence[Indexed], edits: Sequence[Edit], most: int) -> list[str]:
    """Choose and write at most ``most`` demonstrations, the nearest last.

    Args:
        near: those that may be shown, nearest first; each is shown once at most.
        edits: those that are applied; what speaks of their subjects is left out.
        most: how many.

    """
    requests = [edit.request for edit in edits]
    names = [
        words
        for request in requests
        for name in (request.subject, *request.aliases, request.prompt)
        if (words := as_words(name)).strip()
    ]
    unused = [one for one in near if not any(name in one.words for name in names)]
    written: list[tuple[int, str]] = []
    rank = {id(one): place for place, one in enumerate(unused)}
    for number, kind in enumerate(islice(cycle(PATTERN), most)):
        for place, one in enumerate(unused):
            text = _written(one, kind, names, number)
            if text is not None:
                written.append((rank[id(one)], text))
                del unused[place]
                break
    return [text for _, text in sorted(written, reverse=True)]


def own_copies(edits: Sequence[Edit]) -> list[str]:
    """Write each edit as a copy demonstration, those of one fact once; erased facts have none."""
    written: dict[str, str] = {}
    for edit in edits:
        if edit.request.operation is not Operation.ERASE:
            fact = sentence(edit)
            text = _block(fact, edit.request.prompt, edit.request.target_new)
            written.setdefault(fact.casefold(), text)
    return list(written.values())


def _written(one: Indexed, kind: Kind, names: Sequence[str], number: int) -> str | None:
    """Write a demonstration as one of a kind; ``None`` where it has none of it."""
    said = one.said
    if kind is Kind.COPY:
        return _block(said.fact, said.prompt, said.answer)
    if kind is Kind.UPDATE:
        prompts = said.rephrases
        return _block(said.fact, prompts[number % len(prompts)], said.answer) if prompts else None
    kept = [other for other, words in one.retained if not any(name in words for name in names)]
    if not kept:
        return None
    other = kept[number % len(kept)]
    return _block(said.fact, other.prompt, other.answer)


def _block(fact: str, prompt: str, answer: str) -> str:
    return f"New Fact: {inert(fact)}\nPrompt: {inert(f'{prompt} {closed(inert(answer))}')}\n\n"
