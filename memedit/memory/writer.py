"""The transactions that write: each is durable, and in the mirror, when it returns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal, get_args

from sqlalchemy import Connection

from memedit.errors import ConflictError, InvalidInputError, MemoryFailure, NotFoundError
from memedit.memory import question_rows, store
from memedit.memory.adding import Adding, refuse
from memedit.memory.conflicts import (
    MOST,
    ConflictPolicy,
    Contradiction,
    OnConflict,
    contradictions,
    named_by,
)
from memedit.memory.database import Database, DuplicateKey
from memedit.memory.drafts import checked_author, checked_draft, with_vectors, without_vectors
from memedit.memory.encoding import Encoder, Progress, Vectors, encode_all
from memedit.memory.ids import IdMaker, split_ref
from memedit.memory.mirror import Mirror
from memedit.memory.records import NewEdit
from memedit.memory.rows import StoredEdit, digest_of
from memedit.memory.texts import texts_of
from memedit.types import Added, Candidate, Edit, Status

OnDuplicate = Literal["store", "return"]
_MOST_ATTEMPTS = 3
_SEARCHED = 256
"""New edits that are looked for at once; requests wait as long."""


class Writer:
    """Writes edits; what the methods promise is said at those of ``EditMemory``."""

    def __init__(
        self,
        database: Database,
        mirror: Mirror,
        conflicts: ConflictPolicy,
    ) -> None:
        self._database = database
        self._mirror = mirror
        self._conflicts = conflicts
        self._ids = IdMaker()
        self._writing = threading.Lock()  # so that own commits are mirrored in their order

    def add(
        self,
        new: Sequence[NewEdit],
        on_duplicate: OnDuplicate,
        on_conflict: OnConflict | None,
        progress: Progress | None,
    ) -> Added:
        """Store new edits in one transaction."""
        policy = self._conflicts.on_conflict if on_conflict is None else on_conflict
        for name, value, known in (
            ("on_duplicate", on_duplicate, get_args(OnDuplicate)),
            ("on_conflict", policy, get_args(OnConflict)),
        ):
            if value not in known:
                raise InvalidInputError(f"{name} is one of {', '.join(known)}; got {value!r}")
        ids = self._ids.make(len(new))
        drafts = [checked_draft(name, one) for name, one in zip(ids, new, strict=True)]
        if not drafts:
            return Added()
        digests = [digest_of(draft) for draft in drafts]
        there: dict[str, Edit] = {}
        if on_duplicate == "return":  # what is there already need not be encoded
            with self._database.read() as connection:
                there = store.read_same(connection, digests)
        vectors = self._encoded(
            [draft for draft, digest in zip(drafts, digests, strict=True) if digest not in there],
            progress,
        )
        for _ in range(_MOST_ATTEMPTS):
            try:
                return self._written(drafts, digests, vectors, on_duplicate == "return", policy)
            except DuplicateKey:  # another process has made the same id in the same millisecond
                ids = self._ids.make(len(drafts))
                drafts = [
                    draft.model_copy(update={"id": name})
                    for draft, name in zip(drafts, ids, strict=True)
                ]
        raise MemoryFailure("other processes took every id that was made; add the edits again")

    def _written(
        self,
        drafts: Sequence[Edit],
        digests: Sequence[str],
        vectors: dict[str, Vectors],
        reuse: bool,
        policy: OnConflict,
    ) -> Added:
        with self._writing:
            # Searched before the transaction, which other processes wait for; where one of them
            # has written since, once more inside of it.
            seen, found = self._contradicted(drafts, vectors)
            with self._changing() as (connection, meta):
                if meta.seq != seen:
                    _, found = self._contradicted(drafts, vectors)
                same = store.read_same(connection, digests) if reuse else {}
                if policy == "reject":
                    refuse(drafts, [one for one in found if digests[one.place] not in same])
                adding = Adding(
                    meta.seq,
                    self._mirror.encoder.dim,
                    policy == "supersede",
                    {place: list(group) for place, group in groupby(found, lambda one: one.place)},
                )
                for draft, digest in zip(drafts, digests, strict=True):
                    known = same.get(digest)
                    if known is not None and known.ref not in adding.closed:
                        adding.reuse(known)
                        continue
                    if any(text.text not in vectors for text in texts_of(draft.request)):
                        # Live a moment ago; retracted since, or superseded by an edit before it.
                        vectors |= self._encoded([draft], None)
                    edit = adding.add(draft, vectors)
                    if reuse:
                        same[digest] = edit
                for old in adding.closed.values():
                    store.close_version(connection, old)
                store.advance(connection, len(adding.stored))
                store.insert_edits(connection, adding.stored)
            self._mirror.take_over(meta.seq, adding.stored)
        return adding.result()

    def _contradicted(
        self, drafts: Sequence[Edit], vectors: Mapping[str, Vectors]
    ) -> tuple[int, list[Contradiction]]:
        """Find what the drafts contradict; return it with the number of the last change seen.

        A draft without a vector is live already, and contradicts what it has contradicted.
        """
        self._mirror.refresh()
        seen = self._mirror.applied
        asked = [place for place, one in enumerate(drafts) if one.request.prompt in vectors]
        near: list[Sequence[Candidate] | None] = [None] * len(drafts)
        for start in range(0, len(asked), _SEARCHED):  # in pieces, so that requests get between
            places = asked[start : start + _SEARCHED]
            queries = [(drafts[place], vectors[drafts[place].request.prompt]) for place in places]
            hits = self._mirror.named(
                [(named_by(one), vector, one.namespace) for one, vector in queries], MOST
            )
            for place, hit in zip(places, hits, strict=True):
                near[place] = hit
        self._mirror.read_facts({drafts[place].namespace for place in asked})
        return seen, contradictions(drafts, near, self._mirror, self._conflicts.judge)

    def supersede(self, edit_id: str, new: NewEdit) -> Edit:
        """Replace the live version; the namespace stays that of the edit."""
        name, _ = split_ref(edit_id)
        draft = checked_draft(name, new)
        vectors = self._encoded([draft], None)
        return self._replaced(
            edit_id,
            lambda seq, _, facts: with_vectors(seq, draft.model_copy(update=facts), vectors),
        )

    def retract(self, edit_id: str, author: str | None) -> Edit:
        """Replace the live version by one that no search finds."""
        said = {"status": Status.RETRACTED, "author": checked_author(author)}
        return self._replaced(
            edit_id,
            lambda seq, old, facts: without_vectors(
                seq, old.model_copy(update=facts | said), self._mirror.encoder.dim
            ),
        )

    def _replaced(
        self, edit_id: str, write: Callable[[int, Edit, dict[str, Any]], StoredEdit]
    ) -> Edit:
        """Put the version that ``write`` makes in the place of the live one."""
        with self._writing:
            with self._changing() as (connection, meta):
                old = _live_version(connection, edit_id)
                facts = {
                    "version": old.version + 1,
                    "namespace": old.namespace,
                    "supersedes": old.ref,
                    "created_at": datetime.now(UTC),
                }
                stored = write(meta.seq + 1, old, facts)
                store.close_version(connection, old)
                store.advance(connection, 1)
                store.insert_edits(connection, [stored])
            self._mirror.take_over(meta.seq, [stored])
        return stored.edit

    def reindex(self, encoder: Encoder, progress: Progress | None) -> int:
        """Encode all live edits anew."""
        vectors: dict[str, Vectors] = {}
        with self._writing:
            while True:
                with self._database.read() as connection:
                    seen = store.read_meta(connection)
                    edits = store.read_live_edits(connection)
                    questions = question_rows.read_texts(connection)
                texts = [text.text for _, edit in edits for text in texts_of(edit.request)]
                texts += [text for _, _, text in questions]
                missing = [text for text in texts if text not in vectors]
                vectors |= encode_all(encoder, missing, progress)
                with self._database.write() as connection:
                    meta = store.lock(connection)
                    if (meta.seq, meta.questions) != (seen.seq, seen.questions):
                        continue  # another process has written meanwhile: encode that as well
                    store.delete_all_vectors(connection)
                    store.insert_vectors(
                        connection, [with_vectors(seq, edit, vectors) for seq, edit in edits]
                    )
                    question_rows.encode_anew(connection, vectors)
                    store.set_encoder(connection, encoder.fingerprint, encoder.dim)
                break
            self._mirror.replace_encoder(encoder)
        return len(edits)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, store.Meta]]:
        """Give a transaction of the only writer, and the state it begins with."""
        with self._database.write() as connection:
            meta = store.lock(connection)
            self._mirror.check_encoder(meta)
            yield connection, meta

    def _encoded(self, drafts: Sequence[Edit], progress: Progress | None) -> dict[str, Vectors]:
        texts = [text.text for draft in drafts for text in texts_of(draft.request)]
        return encode_all(self._mirror.encoder, texts, progress)


def _live_version(connection: Connection, ref: str) -> Edit:
    name, wanted = split_ref(ref)
    edit = store.read_version(connection, name, None)
    if edit is None or (wanted is not None and wanted > edit.version):
        raise unknown_edit(name, wanted)
    if wanted is not None and wanted != edit.version:
        raise ConflictError(f"{ref} is no longer the newest version; that is {edit.ref}")
    if edit.status is not Status.LIVE:
        raise ConflictError(f"{edit.ref} is {edit.status.value}, not live; add the edit anew")
    return edit


def unknown_edit(edit_id: str, version: int | None) -> NotFoundError:
    """Return the error for an edit that is not there."""
    ref = edit_id if version is None else f"{edit_id}@{version}"
    return NotFoundError(f"no edit {ref} in the memory; `memedit list` shows those that are there")
