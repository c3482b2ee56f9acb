"""Questions that were generated for edits: beside the edits, found like their own texts.

They are no part of an edit: its request, its version and its export stay its author's own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from memedit.errors import InvalidInputError
from memedit.memory import question_rows, store
from memedit.memory.database import Database
from memedit.memory.encoding import encode_all
from memedit.memory.ids import split_ref
from memedit.memory.records import Generated
from memedit.memory.texts import texts_of
from memedit.types import Edit

if TYPE_CHECKING:
    from memedit.memory.mirror import Mirror

MOST_QUESTIONS: Final = 32
"""Of one version: a vector each, beside the at most 130 of the edit's own texts."""
_LONGEST: Final = 4_096
_LONGEST_METHOD: Final = 16


class Questions:
    """The generated questions of one edit memory.  Safe for several threads.

    They go with the version that they were made for: superseding or retracting it removes them
    in the same transaction; outside of its validity they are not found, as nothing of it is.
    """

    def __init__(self, database: Database, mirror: Mirror) -> None:
        self._database = database
        self._mirror = mirror

    def store(self, made: Sequence[Generated]) -> dict[str, int]:
        """Store questions in one transaction; each set replaces the one that was there.

        Left out are versions that are no longer live, and texts that the edit itself has.  A set
        without texts says that nothing came of it, so that it need not be tried again.

        Returns:
            How many questions are stored now, by ``id@version``.

        Raises:
            InvalidInputError: too many texts, or one that cannot be stored; nothing was.
            MemoryFailure: the database cannot be written; nothing was stored.

        """
        for one in made:
            _check(one)
        vectors = encode_all(self._mirror.encoder, [text for one in made for text in one.texts])
        now = datetime.now(UTC)
        stored: dict[str, int] = {}
        with self._database.write() as connection:
            meta = store.lock(connection)
            self._mirror.check_encoder(meta)
            rows = []
            for one in {one.ref: one for one in made}.values():
                name, version = split_ref(one.ref)
                live = question_rows.live_version(connection, name, version or 0, now)
                if live is None:
                    continue  # superseded or retracted while they were made
                seq, edit = live
                own = {text.text for text in texts_of(edit.request)}
                texts = [text for text in dict.fromkeys(one.texts) if text not in own]
                rows.append((seq, one.method, texts))
                stored[one.ref] = len(texts)
            if rows:
                stamp = question_rows.next_stamp(connection, meta.questions)
                question_rows.replace_questions(connection, stamp, now, rows, vectors)
        self._mirror.catch_up()
        return stored

    def of(self, edit_id: str) -> Generated | None:
        """Return what was generated for the live version; ``None``: nothing was tried yet.

        Raises:
            NotFoundError: that is no id.

        """
        name, version = split_ref(edit_id)
        with self._database.read() as connection:
            found = question_rows.read_generated(connection, edit_id=name)
        return next(
            (one for one in found if version is None or one.ref == f"{name}@{version}"), None
        )

    def all(self, namespace: str | None = None) -> list[Generated]:
        """Return what was generated for live versions, oldest first."""
        with self._database.read() as connection:
            return question_rows.read_generated(connection, namespace=namespace)

    def missing(
        self,
        method: str,
        *,
        namespace: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Edit]:
        """Return live edits that ``method`` has generated nothing for yet, a page at a time.

        Args:
            method: what another method has generated does not count.
            namespace: ``None``: all.
            limit: length of a page.
            after: the id of the last edit of the page before.

        """
        with self._database.read() as connection:
            now = datetime.now(UTC)
            return question_rows.read_missing(connection, method, namespace, now, limit, after)

    def forget_expired(self) -> int:
        """Remove the questions of edits whose validity is over; return the number of edits."""
        now = datetime.now(UTC)
        with self._database.read() as connection:  # which keeps nobody waiting; mostly it is all
            if not question_rows.read_expired(connection, now):
                return 0
        with self._database.write() as connection:
            meta = store.lock(connection)
            seqs = question_rows.read_expired(connection, now)
            stamp = question_rows.next_stamp(connection, meta.questions)
            question_rows.empty(connection, seqs, stamp)
        self._mirror.catch_up()
        return len(seqs)

    def clear(self, namespace: str | None = None) -> int:
        """Remove all generated questions, or a namespace's; return how many edits had some."""
        with self._database.write() as connection:
            store.lock(connection)
            n = question_rows.delete_all(connection, namespace)
        self._mirror.catch_up()
        return n


def _check(one: Generated) -> None:
    _, version = split_ref(one.ref)
    if version is None:
        raise InvalidInputError(f"questions belong to one version: got {one.ref}, not id@version")
    if not 0 < len(one.method) <= _LONGEST_METHOD:
        raise InvalidInputError(
            f"a method has a name of 1 to {_LONGEST_METHOD} characters; got {one.method[:40]!r}"
        )
    if len(one.texts) > MOST_QUESTIONS:
        raise InvalidInputError(
            f"got {len(one.texts)} questions for {one.ref}; at most {MOST_QUESTIONS} are stored"
        )
    if any(not text.strip() or len(text) > _LONGEST or "\0" in text for text in one.texts):
        raise InvalidInputError(
            f"a question of {one.ref} is empty, longer than {_LONGEST:,} characters, or holds NUL"
        )
