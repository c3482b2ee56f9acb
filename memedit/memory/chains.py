"""Chains of edits that contradict another one: a link's answer is what the next link is about.

One edit says what the home town of the head of state of Quendoria is, two others say who that is
and where they live.  A part of a prompt is taken for a description (the head of state of
Quendoria); another edit must answer it; its answer is put in the place of the description; and what
the prompt is then must be answered by an edit about that name, or be taken apart further.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from memedit.indexes.names import names_of
from memedit.memory.asking import Judge, overlapping
from memedit.memory.beside import Asked, Implied, Known, Seen, answers, differ
from memedit.memory.facts import By, Name, name_of, subject_names
from memedit.memory.relations import askings, expanded, phrases
from memedit.types import ConflictKind, Edit

MOST_LINKS: Final = 4
"""Edits of one chain, at most."""
_MOST_ASKED: Final = 128
"""Ways to go on that are looked at for one new edit in each step."""
_MOST_NAMES: Final = 64
"""Names that may lead to a new edit, of those looked at in each step."""
_MOST_TOLD: Final = 16
"""Edits with prompts of several hops that are looked at for one new edit."""


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


class _Behind:
    """What may lead to a new edit: prompts of several hops, and names on their ways."""

    def __init__(self, new: Known, seen: Seen) -> None:
        self.new = new
        told: dict[str, Known] = {}
        names = dict.fromkeys(subject_names(new.edit))
        self._links = dict.fromkeys(names, 1)
        for links in range(2, MOST_LINKS + 1):
            before: dict[Name, None] = {}
            for name in names:
                if len(told) < _MOST_TOLD:
                    told |= {one.edit.id: one for one in seen.find(By.COMPOSED, new, name)}
                for link in seen.find(By.ANSWER, new, name):
                    before.update(dict.fromkeys(subject_names(link.edit)))
            names = {one: None for one in islice(before, _MOST_NAMES) if one not in self._links}
            self._links.update(dict.fromkeys(names, links))
        self.told: Final = tuple(islice(told.values(), _MOST_TOLD))
        """Edits of several hops that the new one may be a part of; that may be itself."""

    def holds(self, *edits: Known) -> bool:
        """Tell whether the new edit is one of these."""
        return any(self.new.edit.id == one.edit.id for one in edits)

    def leads(self, name: Name, links: int) -> bool:
        """Tell whether the new edit may be reached from a name by so many links, itself one."""
        return self._links.get(name, links + 1) <= links


def chains(own: Sequence[Known], seen: Seen, judge: Judge | None) -> list[Implied]:
    """Find what new edits contradict as a part of a chain; see ``implied_conflicts``."""
    behind = {new.earlier or 0: _Behind(new, seen) for new in own}
    readings = [
        _Reading(new.earlier or 0, told, told.edit.request.prompt, _names(told.edit))
        for new in own
        for told in behind[new.earlier or 0].told
    ]
    news = {new.earlier: new for new in own}
    found: list[Implied] = []
    for step in range(MOST_LINKS):
        ends, steps = _steps(readings, behind, seen, left=MOST_LINKS - 1 - step)
        said = answers([asked for _, _, asked in (*ends, *steps)], judge)
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


_Step = tuple[_Reading, Known, Asked]


def _steps(
    readings: Sequence[_Reading], behind: dict[int, _Behind], seen: Seen, *, left: int
) -> tuple[list[_Step], list[_Step]]:
    """Return what may end a reading, and what may lead it on, as the reading that it then is.

    What cannot end with the new edit among its links is not worth a judge's time, nor what leads
    to a name that nothing is known about.

    Args:
        readings: prompts on their way.
        behind: of each new edit what may lead to it.
        seen: what may be a link.
        left: how many links there may be behind this one.

    """
    ends: list[_Step] = []
    steps: list[_Step] = []
    count: dict[int, int] = {}
    for reading in readings:
        way = behind[reading.place]
        found = phrases(reading.text, reading.names) if left else ()
        for known in _about(reading, way.new, seen):
            if count.get(reading.place, 0) >= _MOST_ASKED:
                break
            links = (*reading.links, known)
            if reading.links and way.holds(reading.told, *links) and _differs(known, reading.told):
                count[reading.place] = count.get(reading.place, 0) + 1
                ends.append((reading, known, Asked((reading.text,), known.edit)))
            answer = known.edit.request.target_new
            for phrase in found:
                text = expanded(reading.text, phrase, answer)
                on = replace(reading, text=text, names=(answer,), links=links)
                if _may_end(on, way, seen, left):
                    count[reading.place] = count.get(reading.place, 0) + 1
                    steps.append((on, known, Asked(tuple(askings(phrase.text)), known.edit)))
    return ends, steps


def _about(reading: _Reading, new: Known, seen: Seen) -> Iterator[Known]:
    """Yield the edits about what a reading is about by now that it has not used, each once."""
    used = (reading.told, *reading.links)
    once = {one.edit.id for one in used}
    for name in dict.fromkeys(map(name_of, reading.names)):
        for known in seen.find(By.SUBJECT, new, name):
            if known.edit.id not in once and all(overlapping(known.edit, one.edit) for one in used):
                once.add(known.edit.id)
                yield known


def _may_end(reading: _Reading, way: _Behind, seen: Seen, left: int) -> bool:
    """Tell whether a contradiction may lie behind a reading of which it has not been judged yet."""
    held = way.holds(reading.told, *reading.links)
    last = left == 1 or not phrases(reading.text, reading.names)
    if not held and not way.leads(name_of(reading.names[0]), 1 if last else left):
        return False
    return any(
        not last or (_differs(known, reading.told) and (held or way.holds(known)))
        for known in _about(reading, way.new, seen)
    )


def _differs(known: Known, told: Known) -> bool:
    return differ(known.edit.request.target_new, told.edit.request.target_new)


def _contradiction(
    reading: _Reading, probability: float, news: dict[int | None, Known]
) -> list[Implied]:
    new = news[reading.place]
    edits = [reading.told, *reading.links]
    # of a new composed fact it is the last edit that gives another answer, else the composed one
    against = edits[-1] if reading.told.edit.id == new.edit.id else reading.told
    through = tuple(one for one in edits if one.edit.id not in (new.edit.id, against.edit.id))
    sure = None if probability == 1 else probability
    return [Implied(reading.place, against, through, ConflictKind.CHAIN, sure)]


def _names(edit: Edit) -> tuple[str, ...]:
    return names_of(edit.request.subject, edit.request.aliases)
