"""The edit memory: the system of record with its index, behind one lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection

from memedit.errors import InvalidInputError
from memedit.indexes.base import VectorIndex
from memedit.indexes.catalog import AUTO, index_class
from memedit.memory import store
from memedit.memory.adapters import Adapters
from memedit.memory.conflicts import ConflictPolicy, OnConflict
from memedit.memory.database import Database
from memedit.memory.encoding import Encoder, Progress
from memedit.memory.ids import split_ref
from memedit.memory.mirror import Mirror
from memedit.memory.opening import begin
from memedit.memory.questions import Questions
from memedit.memory.records import NewEdit, VerifyReport
from memedit.memory.searched import Searched
from memedit.memory.writer import OnDuplicate, Writer, unknown_edit
from memedit.types import DEFAULT_NAMESPACE, Added, Candidate, Edit, EditRequest, Status


class EditMemory(Searched):
    """Edits, stored durably and found by similarity.  Safe for several threads and processes.

    Use :meth:`open`, and the memory as a context manager.  An edit that a method has returned is
    on the disk (SQLite: WAL with ``synchronous=FULL``) and is found by the next search of this
    process; other processes find it after their next :meth:`refresh`.

    Stored versions never change but for their status.  Superseding and retracting both write a
    new version, so that :meth:`history` tells who did what, and when.
    """

    def __init__(
        self, database: Database, encoder: Encoder, index: type[VectorIndex], policy: ConflictPolicy
    ) -> None:
        super().__init__(Mirror(database, encoder, index))
        self._database = database
        self._writer = Writer(database, self._mirror, policy)
        self.adapters = Adapters(database, self._mirror)
        """Which adapters hold which edits, and what is deployed."""
        self.questions = Questions(database, self._mirror)

    @classmethod
    def open(
        cls,
        url: str,
        encoder: Encoder,
        *,
        index: str = AUTO,
        reindex: bool = False,
        create: bool = True,
        conflicts: ConflictPolicy = ConflictPolicy(),  # noqa: B008  # immutable
    ) -> EditMemory:
        """Open the memory at ``url``; what is not there yet is created.

        Args:
            url: ``sqlite:///FILE``, ``sqlite://`` (in memory), or ``postgresql://USER@HOST/NAME``.
            encoder: must be the one that the memory was written with, unless ``reindex``.
            index: registry name of the vector index, or ``auto``.
            reindex: encode everything anew where the memory was written with another encoder.
            create: ``False`` refuses a SQLite file that is not there.
            conflicts: what is done about edits that contradict live ones, unless adding says so.

        Raises:
            InvalidInputError: the URL is of no kind that is known, or no such index.
            EncoderMismatchError: the memory was written with another encoder.
            MemoryFailure: the database cannot be reached, read or created.

        """
        memory = cls(Database(url, create=create), encoder, index_class(index), conflicts)
        try:
            meta = begin(memory._database, encoder)
            if reindex and meta.encoder != encoder.fingerprint:
                memory.reindex(encoder)
            memory.refresh()
        except BaseException:
            memory.close()
            raise
        return memory

    # Writing

    def add(
        self,
        requests: Sequence[EditRequest],
        *,
        namespace: str = DEFAULT_NAMESPACE,
        author: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        on_duplicate: OnDuplicate = "store",
        on_conflict: OnConflict | None = None,
        progress: Progress | None = None,
    ) -> Added:
        """Store requests in one transaction: all of them, or none.

        Args:
            requests: what to store, in this order.
            namespace: whose edits these are.
            author: who adds them; free text.
            valid_from: from when they hold (aware); ``None`` is since ever.
            valid_to: until when, that moment excluded; ``None`` is for ever.
            on_duplicate: ``store`` makes a new edit of every request, also of one that is there
                already; ``return`` gives back the live edit with the same request, namespace and
                validity in its place, so that adding twice is adding once.
            on_conflict: what is done about edits that contradict live ones of the namespace:
                ``keep`` stores them beside (where both are valid the newer one speaks);
                ``supersede`` makes them the next version of an edit with the same prompt;
                ``reject`` refuses all; ``None`` is the memory's own policy.  The answer's
                ``conflicts`` say what is contradicted.
            progress: called with (texts encoded, texts in all).

        Raises:
            InvalidInputError: a value cannot be stored; nothing was.
            ConflictError: there are contradictions, and the policy is ``reject``.
            MemoryFailure: the database cannot be written; nothing was stored.

        """
        new = [NewEdit(request, namespace, author, valid_from, valid_to) for request in requests]
        return self.add_edits(
            new, on_duplicate=on_duplicate, on_conflict=on_conflict, progress=progress
        )

    def add_edits(
        self,
        new: Sequence[NewEdit],
        *,
        on_duplicate: OnDuplicate = "store",
        on_conflict: OnConflict | None = None,
        progress: Progress | None = None,
    ) -> Added:
        """Store requests that differ in namespace, author or validity; else as :meth:`add`."""
        self._check_open()
        return self._writer.add(new, on_duplicate, on_conflict, progress)

    def supersede(
        self,
        edit_id: str,
        request: EditRequest,
        *,
        author: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> Edit:
        """Replace the live version by a new one of the same id, in the same namespace.

        The validity is that given here, not that of the old version.  ``id@version`` replaces
        that very version only: whoever read an older one gets a conflict.

        Raises:
            NotFoundError: no such edit.
            ConflictError: it is retracted, or that version is no longer the live one.

        """
        self._check_open()
        new = NewEdit(request, DEFAULT_NAMESPACE, author, valid_from, valid_to)
        return self._writer.supersede(edit_id, new)

    def retract(self, edit_id: str, *, author: str | None = None) -> Edit:
        """Make the edit silent; its history stays, and gains who retracted it and when.

        Returns:
            The version that says so: status ``retracted``, ``author`` and ``created_at`` those of
            the retraction.

        Raises:
            NotFoundError: no such edit.
            ConflictError: it is retracted already, or that version is no longer the live one.

        """
        self._check_open()
        return self._writer.retract(edit_id, author)

    def reindex(self, encoder: Encoder, *, progress: Progress | None = None) -> int:
        """Encode all live edits with ``encoder`` and use it from now on; return their number.

        Other processes that still use the old encoder get ``EncoderMismatchError`` from then on.
        """
        self._check_open()
        return self._writer.reindex(encoder, progress)

    # Reading

    def get(self, edit_id: str, *, version: int | None = None) -> Edit:
        """Return the newest version of an edit, or the one named by ``version`` or ``id@version``.

        Raises:
            NotFoundError: no such edit, or no such version of it.

        """
        name, named = split_ref(edit_id)
        wanted = named if version is None else version
        with self._reading() as connection:
            edit = store.read_version(connection, name, wanted)
        if edit is None:
            raise unknown_edit(name, wanted)
        return edit

    def history(self, edit_id: str) -> list[Edit]:
        """Return every version, oldest first; ``author`` and ``created_at`` say who and when.

        A retraction is the last version, with the status ``retracted``.
        """
        name, _ = split_ref(edit_id)
        with self._reading() as connection:
            versions = store.read_versions(connection, name)
        if not versions:
            raise unknown_edit(name, None)
        return versions

    def search(
        self, text: str, *, namespaces: Sequence[str] = (DEFAULT_NAMESPACE,), k: int = 5
    ) -> list[Candidate]:
        """Return the ``k`` live edits nearest to ``text`` that are valid now."""
        self.refresh()
        if not self.has_live(namespaces):
            return []
        vectors = self.encoder.encode([text])
        return list(self.candidates(vectors, [namespaces], k, datetime.now(UTC))[0])

    def namespaces(self) -> dict[str, int]:
        """Return how many live edits each namespace holds; those with none are left out."""
        self._check_open()
        return self._mirror.counts()

    def stats(self) -> dict[str, Any]:
        """Return numbers about the memory, JSON-ready."""
        with self._reading() as connection:
            counts = store.count_by_status(connection)
        edits = {status.value: counts.get(status.value, 0) for status in Status}
        return {"url": self._database.shown_url, "edits": edits, **self._mirror.stats()}

    # Staying in step

    def refresh(self) -> bool:
        """Take over what other processes have committed; return whether there was anything.

        Cheap when there was nothing: one number is read.
        """
        self._check_open()
        return self._mirror.refresh()

    def verify(self) -> VerifyReport:
        """Compare the index with the database, vector by vector."""
        self._check_open()
        return self._mirror.verify()

    def close(self) -> None:
        """Let go of the database; may be called twice."""
        self._closed = True
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._check_open()
        with self._database.read() as connection:
            yield connection

    # Last, since from here on `list` in an annotation would be this method.
    def list(
        self,
        *,
        namespace: str | None = None,
        status: Status | None = Status.LIVE,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Edit]:
        """Return edits in the order they were first added, a page at a time.

        Args:
            namespace: ``None`` lists all of them.
            status: of the versions to list; ``None`` lists the newest version of every edit.
            limit: length of a page.
            after: the last edit of the page before: its id, or its ``id@version`` where several
                versions of one edit are listed (``superseded``).

        """
        if limit < 1:
            raise InvalidInputError(f"limit must be at least 1; got {limit}")
        behind = None
        if after is not None:
            name, version = split_ref(after)
            behind = (name, version if version is not None else 2**31 - 1)
        with self._reading() as connection:
            return store.read_page(connection, namespace, status, limit, behind)
