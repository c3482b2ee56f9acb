"""The live edits in memory, kept in step with the database."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection

from memedit.errors import EncoderMismatchError, InvalidInputError
from memedit.indexes.base import VectorIndex
from memedit.memory import adapter_rows, question_rows, store
from memedit.memory.adapter_records import AdapterView
from memedit.memory.database import Database
from memedit.memory.encoding import Encoder, Vectors
from memedit.memory.facts import By, Name
from memedit.memory.live import LiveEdits
from memedit.memory.records import VerifyReport
from memedit.memory.rows import StoredEdit
from memedit.memory.verify import compare
from memedit.types import Candidate, Edit

_MOST_CANDIDATES = 1_000
_READ_AT_ONCE = 128
"""Edits; searches wait as long."""


class Mirror:
    """What searches are answered from.  Safe for several threads.

    Everything up to ``applied`` is in it.  Numbers are given out in the order of commits, so to
    read what lies behind ``applied`` is to read all that is new.
    """

    def __init__(self, database: Database, encoder: Encoder, index: type[VectorIndex]) -> None:
        self.encoder = encoder
        self.adapters = AdapterView()
        """Replaced as a whole, so it may be read without the lock."""
        self._adapters_seen = -1
        self._questions_seen = 0
        self._database = database
        self._index = index
        self._lock = threading.RLock()  # guards everything below
        self._live = LiveEdits(encoder.dim, index)
        self._applied = 0
        self._generation: int | None = None  # None: to be read from the beginning
        self._token: int | None = None

    @property
    def applied(self) -> int:
        """The number of the last change that is in it."""
        return self._applied

    def refresh(self) -> bool:
        """Take over what other processes have committed; return whether there was anything."""
        token = self._database.change_token()
        if token == self._token and self._generation is not None:
            return False
        with self._lock:
            changed = self._catch_up()
            # Noted only now: were it noted before, a failure would hide the change for good.
            self._token = token
        return changed

    def take_over(self, before: int, stored: Sequence[StoredEdit]) -> None:
        """Apply what this process has just committed behind ``before``."""
        with self._lock:
            if self._generation is None or self._applied != before:
                self._catch_up()  # others have written before: everything in its order
            else:
                self._apply(stored, before + len(stored))

    def catch_up(self) -> None:
        """Read what this process has just committed about adapters or generated questions."""
        with self._lock:
            self._catch_up()

    def check_encoder(self, meta: store.Meta) -> None:
        """Refuse to write vectors into a memory whose encoder is another one by now.

        Raises:
            EncoderMismatchError: it is.

        """
        if meta.encoder != self.encoder.fingerprint:
            raise encoder_mismatch(meta.encoder, self.encoder.fingerprint)

    def replace_encoder(self, encoder: Encoder) -> None:
        """Read everything anew, as made by another encoder."""
        with self._lock:
            self.encoder = encoder
            self._catch_up()

    def candidates(
        self,
        vectors: Vectors,
        namespaces: Sequence[Sequence[str]],
        k: int,
        moment: datetime | None,
        texts: Sequence[str] | None = None,
    ) -> list[tuple[Candidate, ...]]:
        """Search; see ``EditMemory.candidates``.  ``moment`` ``None``: whenever they are valid."""
        given = {"namespaces": namespaces, "texts": vectors if texts is None else texts}
        for what, values in given.items():
            if len(values) != len(vectors):
                raise InvalidInputError(f"got {len(vectors)} queries but {what} for {len(values)}")
        if not 1 <= k <= _MOST_CANDIDATES:
            raise InvalidInputError(f"k must be between 1 and {_MOST_CANDIDATES}; got {k}")
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        with self._lock:
            return self._live.candidates(queries, namespaces, k, moment, texts)

    def named(
        self, queries: Sequence[tuple[str, Vectors, str]], most: int
    ) -> list[tuple[Candidate, ...]]:
        """Find edits whose subject stands in a text; each query is text, vector and namespace."""
        with self._lock:
            return [self._live.named(*query, most) for query in queries]

    def erased(
        self, texts: Sequence[str], namespaces: Sequence[str], moment: datetime
    ) -> list[tuple[Candidate, ...]]:
        """Find erasures by names alone; see ``EditMemory.erased``."""
        with self._lock:
            return [self._live.erased(text, namespaces, moment) for text in texts]

    def find(self, by: By, namespace: str, name: Name) -> list[Edit]:
        """Return the newest live edits of a name, the newest one first, whenever they are valid."""
        with self._lock:
            return [edit for _, edit in self._live.facts(namespace).find(by, name)]

    def holds(self, by: By, namespace: str) -> bool:
        """Tell whether ``find`` finds anything by it."""
        with self._lock:
            return self._live.facts(namespace).holds(by)

    def read_facts(self, namespaces: Iterable[str]) -> None:
        """Make ready what ``find`` finds, in pieces, so that requests get between."""
        for namespace in namespaces:
            more = True
            while more:
                with self._lock:
                    more = self._live.read_facts(namespace, _READ_AT_ONCE)

    def has(self, namespaces: Sequence[str]) -> bool:
        """Tell whether any of the namespaces holds a live edit."""
        with self._lock:  # an edit being superseded is not to be missed for a moment
            return self._live.has(namespaces)

    def may_concern(self, texts: Sequence[str], namespaces: Sequence[str]) -> bool:
        """Tell whether any text may name a live edit of the namespaces."""
        with self._lock:
            return self._live.may_concern(texts, namespaces)

    def counts(self) -> dict[str, int]:
        """Return the number of live edits by namespace."""
        with self._lock:
            return self._live.counts()

    def stats(self) -> dict[str, Any]:
        """Return numbers about the mirror, JSON-ready."""
        with self._lock:
            return {
                "namespaces": self._live.counts(),
                "vectors": self._live.vector_count(),
                "generated_questions": self._live.question_count(),
                "indexes": self._live.structures(),
                "gates_held_open_by": self._live.held_open(),
                "encoder": self.encoder.fingerprint,
                "dim": self.encoder.dim,
                "seq": self._applied,
            }

    def verify(self) -> VerifyReport:
        """Compare the mirror with one state of the database."""
        faults = self._database.check()
        with self._lock, self._database.read() as connection:
            # Catching up and comparing see the same state: one transaction for both.
            self._catch_up_in(connection)
            return compare(connection, self._live, self.encoder, faults)

    def _catch_up(self) -> bool:
        with self._database.read() as connection:
            return self._catch_up_in(connection)

    def _catch_up_in(self, connection: Connection) -> bool:
        meta = store.read_meta(connection)
        self.check_encoder(meta)
        adapters_changed = meta.adapters != self._adapters_seen
        if adapters_changed:
            self.adapters = adapter_rows.read_view(connection)
            self._adapters_seen = meta.adapters
        if meta.generation != self._generation:
            fresh = LiveEdits(self.encoder.dim, self._index)
            fresh.apply(store.read_live(connection, self.encoder.dim))
            fresh.enrich(question_rows.read_stored(connection, 0, self.encoder.dim))
            self._live, self._applied = fresh, meta.seq
            self._generation, self._questions_seen = meta.generation, meta.questions
            return True
        changed = adapters_changed
        if meta.seq != self._applied:
            changes = list(store.read_changes(connection, self._applied, self.encoder.dim))
            self._apply(changes, meta.seq)
            changed = True
        if meta.questions != self._questions_seen:  # behind the edits that they belong to
            self._enrich(connection, meta.questions)
            changed = True
        return changed

    def _enrich(self, connection: Connection, stamp: int) -> None:
        questions = list(
            question_rows.read_stored(connection, self._questions_seen, self.encoder.dim)
        )
        generation, self._generation = self._generation, None
        self._live.enrich(questions)  # as below
        self._questions_seen, self._generation = stamp, generation

    def _apply(self, stored: Sequence[StoredEdit], seq: int) -> None:
        generation, self._generation = self._generation, None
        self._live.apply(stored)  # should it fail half-way, the next refresh reads everything
        self._applied, self._generation = seq, generation


def encoder_mismatch(stored: str, used: str) -> EncoderMismatchError:
    """Return the error that says what to do."""
    return EncoderMismatchError(
        f"the memory's vectors were made by the encoder {stored!r}, but {used!r} is in use; "
        "use that encoder, or run `memedit reindex` to encode all edits anew"
    )
