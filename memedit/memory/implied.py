"""Edits that contradict what others imply: a relation's inverse, or a chain of several edits.

*Inverse.*  One edit says that the capital of Quendoria is Lindhaven, another one that the country
whose capital is Lindhaven is Marovia.  Found only of relations that are one to one by their noun,
where at least one of both prompts has a form that is known (see ``relations``).

*Chain.*  One edit says what the home town of the head of state of Quendoria is, two others say who
that is and where they live.  A part of a prompt is taken for a description (the head of state of
Quendoria); another edit must answer it; its answer is put in the place of the description; and what
the prompt is then must be answered by an edit about that name, or be taken apart further.

Who is meant is settled by whole names.  That an edit answers a wording is certain where it is its
prompt or rephrase; else the judge says so, and the conflict is a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Protocol

from memedit.indexes.names import names_of
from memedit.memory.asking import Judge, asked_by, overlapping, prompts_of
from memedit.memory.facts import By, FactTable, Name, name_of, subject_names
from memedit.memory.relations import askings, expanded, phrases, relation_of, turned
from memedit.types import Candidate, ConflictKind, Edit, Operation

MOST_LINKS: Final = 4
"""Edits of one chain, at most."""
_MOST_ASKED: Final = 128
"""Ways to go on that are looked at for one new edit in each step."""
_MOST_NAMES: Final = 64
"""Names that may lead to a new edit, of those looked at in each step."""
_MOST_TOLD: Final = 16
"""Edits with prompts of several hops that are looked at for one new edit."""


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
class _Reading:
    """The prompt of an edit on its way through a chain."""

    place: int
    told: Known
    text: str
    names: tuple[str, ...]
    """Of whom it is about by now."""
    links: tuple[Known, ...] = ()
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whether an edit answers a question, in one of several wordings."""

    wordings: tuple[str, ...]
    edit: Edit


class _Seen:
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
        table = self._beside.get(namespace)
        return self._live.holds(by, namespace) or (table is not None and table.holds(by))


def implied_conflicts(
    drafts: Sequence[Edit], places: Sequence[int], live: Facts, judge: Judge | None
) -> list[Implied]:
    """Find what new edits contradict by what others imply.

    Args:
        drafts: what is to be written, in this order.
        places: of those among them that are new; what is live already contradicts nothing new.
        live: the live edits.
        judge: asked where the wording alone does not say whether an edit answers a prompt;
            ``None`` finds only what is certain.

    """
    seen = _Seen(drafts, places, live)
    own = [
        Known(drafts[place], place)
        for place in places
        if drafts[place].request.operation is not Operation.ERASE
    ]
    turnable = [one for one in own if seen.holds(By.TURNED, one.edit.namespace)]
    chained = [one for one in own if seen.holds(By.COMPOSED, one.edit.namespace)]
    return [*_inverses(turnable, seen, judge), *_chains(chained, seen, judge)]


def _inverses(own: Sequence[Known], seen: _Seen, judge: Judge | None) -> list[Implied]:
    pairs: list[tuple[Known, Known, _Asked]] = []
    for new in own:
        for old, forward, relation in _reversed_pairs(new, seen):
            if relation_of(forward.request) not in (relation, None):
                continue  # its noun says that it is about something else
            wordings = tuple(askings(f"the {relation} of {forward.request.subject}"))
            certain = relation_of(forward.request) == relation
            asked = _Asked(() if certain else wordings, forward)
            pairs.append((new, old, asked))
    said = _answers([asked for _, _, asked in pairs], judge)
    return [
        Implied(new.earlier or 0, old, (), ConflictKind.INVERSE, None if sure == 1 else sure)
        for (new, old, _), sure in zip(pairs, said, strict=True)
        if sure is not None
    ]


def _reversed_pairs(new: Known, seen: _Seen) -> Iterator[tuple[Known, Edit, str]]:
    """Yield edits that may say the inverse: the older one, the one that is not turned, relation."""
    draft = new.edit
    once: set[str] = set()
    relation = turned(draft.request)
    if relation is not None:
        for name in subject_names(draft):
            for old in seen.find(By.ANSWER, new, name):
                if _clash(old, draft, old.edit.request.subject, draft.request.target_new):
                    once.add(old.edit.id)
                    yield old, old.edit, relation
    for old in seen.find(By.TURNED, new, name_of(draft.request.target_new)):
        relation = turned(old.edit.request)
        if relation is None or old.edit.id in once:
            continue
        if _clash(old, draft, draft.request.subject, old.edit.request.target_new):
            yield old, draft, relation


def _clash(old: Known, draft: Edit, owner: str, told: str) -> bool:
    return old.edit.id != draft.id and _differ(owner, told)


def _chains(own: Sequence[Known], seen: _Seen, judge: Judge | None) -> list[Implied]:
    readings = [
        _Reading(new.earlier or 0, told, told.edit.request.prompt, _names(told.edit))
        for new in own
        for told in islice(_told(new, seen), _MOST_TOLD)
    ]
    news = {new.earlier: new for new in own}
    found: list[Implied] = []
    for step in range(MOST_LINKS):
        ends, steps = _steps(readings, news, seen, last=step == MOST_LINKS - 1)
        said = _answers([asked for _, _, asked in (*ends, *steps)], judge)
        for (reading, known, _), sure in zip(ends, said[: len(ends)], strict=True):
            if sure is not None:
                whole = replace(reading, links=(*reading.links, known))
                found += _contradiction(whole, sure * reading.probability, news)
        readings = [
            replace(reading, probability=reading.probability * sure)
            for (reading, _, _), sure in zip(steps, said[len(ends) :], strict=True)
            if sure is not None
        ]
        if not readings:
            break
    return found


_Step = tuple[_Reading, Known, _Asked]


def _steps(
    readings: Sequence[_Reading], news: dict[int | None, Known], seen: _Seen, *, last: bool
) -> tuple[list[_Step], list[_Step]]:
    """Return what may end a reading, and what may lead it on, as the reading that it then is."""
    ends: list[_Step] = []
    steps: list[_Step] = []
    count: dict[int, int] = {}
    for reading in readings:
        new, told = news[reading.place], reading.told
        found = phrases(reading.text, reading.names)
        names = dict.fromkeys(map(name_of, reading.names))
        once: set[str] = set()
        for known in (one for name in names for one in seen.find(By.SUBJECT, new, name)):
            edit = known.edit
            used = (told, *reading.links)
            if edit.id in once or any(edit.id == one.edit.id for one in used):
                continue
            once.add(edit.id)
            if count.get(reading.place, 0) >= _MOST_ASKED:
                break
            if not all(overlapping(edit, one.edit) for one in used):
                continue
            if reading.links and _differ(edit.request.target_new, told.edit.request.target_new):
                count[reading.place] = count.get(reading.place, 0) + 1
                ends.append((reading, known, _Asked((reading.text,), edit)))
            for phrase in found if not last else ():
                answer = edit.request.target_new
                count[reading.place] = count.get(reading.place, 0) + 1
                on = replace(
                    reading,
                    text=expanded(reading.text, phrase, answer),
                    names=(answer,),
                    links=(*reading.links, known),
                )
                steps.append((on, known, _Asked(tuple(askings(phrase.text)), edit)))
    return ends, steps


def _told(new: Known, seen: _Seen) -> Iterator[Known]:
    """Yield edits of several hops that a new one may be a part of; that may be itself."""
    once: set[str] = set()
    names = dict.fromkeys(subject_names(new.edit))
    behind = set(names)
    for _ in range(MOST_LINKS - 1):
        before: dict[Name, None] = {}
        for name in names:
            for told in seen.find(By.COMPOSED, new, name):
                if told.edit.id not in once:
                    once.add(told.edit.id)
                    yield told
            for link in seen.find(By.ANSWER, new, name):
                before.update(dict.fromkeys(subject_names(link.edit)))
        names = {name: None for name in islice(before, _MOST_NAMES) if name not in behind}
        behind.update(names)


def _contradiction(
    reading: _Reading, probability: float, news: dict[int | None, Known]
) -> list[Implied]:
    new = news[reading.place]
    edits = [reading.told, *reading.links]
    if new.edit.id not in (one.edit.id for one in edits):
        return []
    # of a new composed fact it is the last edit that gives another answer, else the composed one
    against = edits[-1] if reading.told.edit.id == new.edit.id else reading.told
    through = tuple(one for one in edits if one.edit.id not in (new.edit.id, against.edit.id))
    sure = None if probability == 1 else probability
    return [Implied(reading.place, against, through, ConflictKind.CHAIN, sure)]


def _names(edit: Edit) -> tuple[str, ...]:
    return names_of(edit.request.subject, edit.request.aliases)


def _answers(asked: Sequence[_Asked], judge: Judge | None) -> list[float | None]:
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


def _differ(one: str, other: str) -> bool:
    """Tell whether two names are not the same, nor one a part of the other."""
    words, others = set(name_of(one)), set(name_of(other))
    return not (words <= others or others <= words)
