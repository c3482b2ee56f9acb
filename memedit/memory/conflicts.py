"""Edits that contradict live ones: found when they are written, before anything is changed.

Two edits contradict each other when they stand in one namespace, are valid at a common moment, ask
for the same subject and relation, and give different answers.  That the relation is the same is
certain where one prompt is the other's (or one of its rephrases, or it with an alias); else, of the
same subject, a scope classifier says whether the older edit answers the newer one's prompt, which
is a guess.  What contradicts an inverse relation or a chain of edits is found in ``implied``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from memedit.memory.asking import Judge, asked_by, overlapping, prompts_of
from memedit.memory.beside import Facts, Known
from memedit.memory.implied import implied_conflicts
from memedit.types import Candidate, ConflictKind, Edit

MOST: Final = 64
"""Live edits of its subject, the newest ones, that are looked at for each new edit."""


OnConflict = Literal["keep", "supersede", "reject"]


@dataclass(frozen=True, slots=True)
class ConflictPolicy:
    """What a memory does about contradictions."""

    on_conflict: OnConflict = "keep"
    """Of adding that names none."""
    judge: Judge | None = None
    """Without one only contradictions of equal prompts are found."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A new edit and what it contradicts."""

    place: int
    """Of the new edit among those that are written together."""
    live: Edit | None
    earlier: int | None
    """Instead of a live edit: the place of one that is written before it, in the same call."""
    kind: ConflictKind
    probability: float | None = None
    """Of a guess."""
    through: tuple[Known, ...] = ()
    """Further edits without which there would be no contradiction."""


def contradictions(
    drafts: Sequence[Edit],
    near: Sequence[Sequence[Candidate] | None],
    facts: Facts,
    judge: Judge | None,
) -> list[Contradiction]:
    """Find what new edits contradict, in their order.

    Args:
        drafts: what is to be written.
        near: for each of them the live edits about what it names; ``None`` for what is live
            already, and contradicts what it has contradicted.
        facts: the live edits by names.
        judge: asked about edits of the same subject with another prompt, and about what others
            imply, each time about all at once; ``None`` finds only what is certain.

    """
    found: list[Contradiction] = []
    unsure: list[tuple[int, Candidate]] = []
    before: dict[tuple[str, str], list[int]] = {}
    for place, draft in enumerate(drafts):
        asked = (draft.namespace, asked_by(draft.request.prompt))
        for earlier in before.get(asked, ()):
            if _disagree(drafts[earlier], draft):
                found.append(Contradiction(place, None, earlier, ConflictKind.SAME_PROMPT))
        for ask in {asked_by(text) for text in (draft.request.prompt, *draft.request.rephrases)}:
            before.setdefault((draft.namespace, ask), []).append(place)
        for candidate in near[place] or ():
            edit = candidate.edit
            if edit.namespace != draft.namespace or not _disagree(edit, draft):
                continue
            if _same_prompt(edit, draft):
                found.append(Contradiction(place, edit, None, ConflictKind.SAME_PROMPT))
            elif not _names(edit).isdisjoint(_names(draft)):
                unsure.append((place, candidate))
    if judge is not None and unsure:
        pairs = [(drafts[place].request.prompt, candidate) for place, candidate in unsure]
        for (place, one), probability in zip(unsure, judge(pairs), strict=True):
            if probability is not None:
                kind = ConflictKind.SAME_SUBJECT
                found.append(Contradiction(place, one.edit, None, kind, probability))
    new = [place for place, hits in enumerate(near) if hits is not None]
    for more in implied_conflicts(drafts, new, facts, judge):
        old = more.against
        live = old.edit if old.earlier is None else None
        found.append(
            Contradiction(more.place, live, old.earlier, more.kind, more.probability, more.through)
        )
    return sorted(found, key=lambda one: one.place)


def named_by(draft: Edit) -> str:
    """Return the text in which the subjects of edits that ``draft`` may contradict stand."""
    request = draft.request
    return "\n".join((request.subject, *request.aliases, request.prompt))


def _same_prompt(live: Edit, draft: Edit) -> bool:
    if asked_by(draft.request.prompt) in prompts_of(live):
        return True
    return asked_by(live.request.prompt) in {asked_by(text) for text in draft.request.rephrases}


def _names(edit: Edit) -> set[str]:
    return {asked_by(name) for name in (edit.request.subject, *edit.request.aliases)}


def _disagree(one: Edit, other: Edit) -> bool:
    """Tell whether two edits, did they answer one prompt, would answer it differently at once."""
    same = asked_by(one.request.target_new) == asked_by(other.request.target_new)
    return not same and overlapping(one, other)
