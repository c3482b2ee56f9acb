"""What adding edits writes: new ones, next versions of those they supersede, and what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memedit.errors import ConflictError
from memedit.memory.beside import Known
from memedit.memory.conflicts import Contradiction
from memedit.memory.drafts import with_vectors, without_vectors
from memedit.memory.encoding import Vectors
from memedit.memory.rows import StoredEdit
from memedit.types import Added, Conflict, ConflictKind, ConflictOutcome, Edit, Status

_SHOWN = 5
_IMPLIED = (ConflictKind.INVERSE, ConflictKind.CHAIN)


@dataclass(slots=True)
class Adding:
    """One call's versions, collected in the order in which they are numbered; nothing is written.

    Superseding takes the place only of edits that certainly answer the same prompt.  What merely
    seems to contradict, by a classifier's guess, stays live and is reported; so does what an
    inverse or a chain contradicts, since nothing says which of these edits is the wrong one.
    """

    seq: int
    """The number of the last version that is stored already."""
    dim: int
    supersede: bool
    contradictions: Mapping[int, Sequence[Contradiction]]
    """By the place of the new edit."""
    stored: list[StoredEdit] = field(default_factory=list)
    closed: dict[str, Edit] = field(default_factory=dict)
    """Live versions that are to be marked as superseded, by their ref."""
    answer: list[Edit] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    _written: dict[str, int] = field(default_factory=dict)
    """The place in ``stored`` of each new edit, by its ref."""
    _answered: dict[str, list[int]] = field(default_factory=dict)
    """The places in ``answer`` of each edit, by its ref."""

    def reuse(self, edit: Edit) -> None:
        """Answer with an edit that is live already."""
        self._answer(edit)

    def add(self, draft: Edit, vectors: Mapping[str, Vectors]) -> Edit:
        """Write a new edit, and settle what it contradicts; return the edit as it is stored.

        ``vectors`` holds one for each of its texts.
        """
        found = [
            one
            for one in self.contradictions.get(len(self.answer), ())
            if all(self._standing(link.edit, link.earlier) is not None for link in one.through)
        ]
        older = {one.ref: one for one in map(self._older, found) if one is not None}
        certain = {
            one.ref
            for contradiction in found
            if contradiction.kind is ConflictKind.SAME_PROMPT
            and (one := self._older(contradiction)) is not None
        }
        goes = [older[ref] for ref in certain] if self.supersede else []
        goes.sort(key=lambda one: (one.created_at, one.id))
        edit = draft
        if goes:
            edit = draft.model_copy(update=_next_version(goes[-1]))
        for one in goes:
            self._close(one)
        for one in goes[:-1]:
            said = {"status": Status.RETRACTED, "author": draft.author}
            silent = one.model_copy(
                update={**_next_version(one), **said, "created_at": draft.created_at}
            )
            self.stored.append(without_vectors(self._next(), silent, self.dim))
        self._written[edit.ref] = len(self.stored)
        self.stored.append(with_vectors(self._next(), edit, vectors))
        self._answer(edit)
        for contradiction in found:
            against = self._older_ref(contradiction, older)
            if against is not None:
                self.conflicts.append(
                    Conflict(
                        edit=edit.ref,
                        against=against,
                        kind=contradiction.kind,
                        probability=contradiction.probability,
                        through=tuple(self._ref(one) for one in contradiction.through),
                        outcome=_outcome(against, [one.ref for one in goes]),
                    )
                )
        return edit

    def result(self) -> Added:
        """Return what the caller gets."""
        return Added(self.answer, self.conflicts)

    def _answer(self, edit: Edit) -> None:
        self._answered.setdefault(edit.ref, []).append(len(self.answer))
        self.answer.append(edit)

    def _older(self, contradiction: Contradiction) -> Edit | None:
        """Return the contradicted edit, unless an earlier one of this call has taken its place."""
        return self._standing(contradiction.live, contradiction.earlier)

    def _standing(self, live: Edit | None, earlier: int | None) -> Edit | None:
        """Return an edit as it stands by now, ``earlier`` its place, unless it is gone."""
        edit = live if earlier is None else self.answer[earlier]
        if edit is None:
            return None
        gone = edit.status is not Status.LIVE or edit.ref in self.closed
        return None if gone else edit

    def _older_ref(self, contradiction: Contradiction, older: Mapping[str, Edit]) -> str | None:
        if contradiction.earlier is not None:
            ref = self.answer[contradiction.earlier].ref
        else:
            ref = contradiction.live.ref if contradiction.live is not None else ""
        return ref if ref in older else None

    def _ref(self, link: Known) -> str:
        return link.edit.ref if link.earlier is None else self.answer[link.earlier].ref

    def _close(self, edit: Edit) -> None:
        """End a live version: in the database, or where it is still to be written."""
        place = self._written.get(edit.ref)
        if place is None:
            self.closed[edit.ref] = edit
            return
        ended = edit.model_copy(update={"status": Status.SUPERSEDED})
        self.stored[place] = without_vectors(self.stored[place].seq, ended, self.dim)
        for at in self._answered[edit.ref]:
            self.answer[at] = ended

    def _next(self) -> int:
        return self.seq + len(self.stored) + 1


def refuse(drafts: Sequence[Edit], found: Sequence[Contradiction]) -> None:
    """Refuse to write anything that contradicts a live edit.

    Raises:
        ConflictError: names the first few.

    """
    if not found:
        return
    named = [
        f"edit {one.place + 1} ({drafts[one.place].request.subject!r}) contradicts "
        + _called(one.live, one.earlier)
        + (f" ({one.kind.value})" if one.kind in _IMPLIED else "")
        + "".join(f", by {_called(link.edit, link.earlier)}" for link in one.through)
        for one in found[:_SHOWN]
    ]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise ConflictError(
        f"nothing was stored, since conflicts are rejected: {'; '.join(named)}{more}. Supersede "
        "the older edit, give both a validity, or add with on_conflict keep or supersede"
    )


def _called(edit: Edit | None, earlier: int | None) -> str:
    return (
        edit.ref if edit is not None and earlier is None else f"edit {(earlier or 0) + 1} beside it"
    )


def _next_version(old: Edit) -> dict[str, object]:
    return {"id": old.id, "version": old.version + 1, "supersedes": old.ref}


def _outcome(against: str, goes: Sequence[str]) -> ConflictOutcome:
    if against not in goes:
        return ConflictOutcome.KEPT
    return ConflictOutcome.SUPERSEDED if against == goes[-1] else ConflictOutcome.RETRACTED
