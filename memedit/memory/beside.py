"""What new edits stand beside, and whether one of these answers a question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from memedit.memory.asking import Judge, asked_by, overlapping, prompts_of
from memedit.memory.facts import By, FactTable, Name, name_of
from memedit.types import Candidate, ConflictKind, Edit


class Facts(Protocol):
    """Live edits by names."""

    def find(self, by: By, namespace: str, name: Name) -> Sequence[Edit]:
        """Return the newest edits of a name, the newest one first."""

    def holds(self, by: By, namespace: str) -> bool:
        """Tell whether anything is found by it."""


@dataclass(frozen=True, slots=True)
class Known:
    """An edit that a new one is compared with."""

    edit: Edit
    earlier: int | None = None
    """Its place among those that are written together; ``None``: it is live."""


@dataclass(frozen=True, slots=True)
class Implied:
    """A new edit and what it contradicts."""

    place: int
    against: Known
    through: tuple[Known, ...]
    """Of a chain the other edits without which there is no contradiction."""
    kind: ConflictKind
    probability: float | None
    """``None`` where all of it is certain."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whether an edit answers a question, in one of several wordings."""

    wordings: tuple[str, ...]
    edit: Edit


class Seen:
    """What new edits stand beside: live ones, and those before them in the same call."""

    def __init__(self, drafts: Sequence[Edit], places: Sequence[int], live: Facts) -> None:
        self._live = live
        self._beside: dict[str, FactTable] = {}
        for place in places:
            table = self._beside.setdefault(drafts[place].namespace, FactTable())
            table.add(place, drafts[place])

    def find(self, by: By, own: Known, name: Name) -> Iterator[Known]:
        """Yield the edits of a name that stand beside a new edit, or are that one."""
        draft, place = own.edit, own.earlier or 0
        for edit in self._live.find(by, draft.namespace, name):
            if overlapping(edit, draft):
                yield Known(edit)
        table = self._beside.get(draft.namespace)
        for earlier, edit in table.find(by, name) if table is not None else ():
            if earlier <= place and overlapping(edit, draft):
                yield Known(edit, earlier)

    def holds(self, by: By, namespace: str) -> bool:
        """Tell whether anything that a new edit may stand beside is found by it."""
        table = self._beside.get(namespace)
        return self._live.holds(by, namespace) or (table is not None and table.holds(by))


def answers(asked: Sequence[Asked], judge: Judge | None) -> list[float | None]:
    """Say how probable it is that each edit answers its question; 1 where that is certain."""
    said: list[float | None] = [
        1.0 if not one.wordings or not prompts_of(one.edit).isdisjoint(map(asked_by, one.wordings))
        else None
        for one in asked
    ]  # fmt: skip
    unsure = [place for place, sure in enumerate(said) if sure is None]
    if judge is not None and unsure:
        pairs = [(asked[place].wordings[0], _candidate(asked[place].edit)) for place in unsure]
        for place, probability in zip(unsure, judge(pairs), strict=True):
            said[place] = None if probability is None else min(probability, 0.9999)
    return said


def _candidate(edit: Edit) -> Candidate:
    # whole names stand in what is asked; a classifier that goes by similarity alone finds nothing
    return Candidate(edit, similarity=0.0, matched=edit.request.prompt, named=True)


def differ(one: str, other: str) -> bool:
    """Tell whether two names are not the same, nor one a part of the other."""
    words, others = set(name_of(one)), set(name_of(other))
    return not (words <= others or others <= words)
