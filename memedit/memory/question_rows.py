"""The statements about generated questions, inside a given transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, delete, exists, insert, select, update

from memedit.memory.encoding import Vectors
from memedit.memory.records import Generated
from memedit.memory.rows import microseconds, read_edit, read_vectors
from memedit.memory.schema import EDITS, ENRICHMENTS, META, QUESTIONS
from memedit.types import Edit, Status

_CHUNK = 500  # values in one IN (...)


@dataclass(frozen=True, slots=True)
class StoredQuestions:
    """The questions of the version that was written under ``seq``; there may be none."""

    seq: int
    texts: tuple[str, ...]
    vectors: Vectors
    """float32 ``[n_texts, dim]``."""


def next_stamp(connection: Connection, before: int) -> int:
    """Note that questions change, so that every process reads them; the caller holds the lock."""
    connection.execute(update(META).values(questions=before + 1))
    return before + 1


def replace_questions(
    connection: Connection,
    stamp: int,
    moment: datetime,
    made: Sequence[tuple[int, str, Sequence[str]]],
    vectors: Mapping[str, Vectors],
) -> None:
    """Write the questions of versions, each as ``seq``, method and texts, in place of others."""
    for start in range(0, len(made), _CHUNK):
        drop(connection, [seq for seq, _, _ in made[start : start + _CHUNK]])
    common = {"stamp": stamp, "created_at": microseconds(moment)}
    connection.execute(
        insert(ENRICHMENTS), [{"seq": seq, "method": method} | common for seq, method, _ in made]
    )
    _insert(
        connection,
        [(seq, place, text) for seq, _, texts in made for place, text in enumerate(texts)],
        vectors,
    )


def encode_anew(connection: Connection, vectors: Mapping[str, Vectors]) -> None:
    """Write every question's vector again; ``vectors`` holds one for each text."""
    rows = read_texts(connection)
    connection.execute(delete(QUESTIONS))
    _insert(connection, rows, vectors)


def _insert(
    connection: Connection, rows: Sequence[tuple[int, int, str]], vectors: Mapping[str, Vectors]
) -> None:
    if rows:
        connection.execute(
            insert(QUESTIONS),
            [
                {"seq": seq, "position": place, "text": text}
                | {"vector": vectors[text].astype("<f4").tobytes()}
                for seq, place, text in rows
            ],
        )


def drop(connection: Connection, seqs: Sequence[int]) -> None:
    """Remove the questions of at most ``_CHUNK`` versions, and that there were any."""
    for table in (QUESTIONS, ENRICHMENTS):
        connection.execute(delete(table).where(table.c.seq.in_(seqs)))


def read_expired(connection: Connection, moment: datetime) -> list[int]:
    """Return the ``seq`` of versions that have questions, and whose time is over."""
    query = (
        select(EDITS.c.seq)
        .where(EDITS.c.valid_to <= microseconds(moment))
        .where(exists().where(QUESTIONS.c.seq == EDITS.c.seq))
    )
    return list(connection.execute(query).scalars())


def empty(connection: Connection, seqs: Sequence[int], stamp: int) -> None:
    """Remove the questions of versions; that there were some stays, and tells other processes."""
    for start in range(0, len(seqs), _CHUNK):
        part = seqs[start : start + _CHUNK]
        connection.execute(delete(QUESTIONS).where(QUESTIONS.c.seq.in_(part)))
        connection.execute(
            update(ENRICHMENTS).where(ENRICHMENTS.c.seq.in_(part)).values(stamp=stamp)
        )


def delete_all(connection: Connection, namespace: str | None) -> int:
    """Remove all questions, or those of a namespace; return how many versions had been enriched.

    Other processes read everything anew.
    """
    query = select(ENRICHMENTS.c.seq)
    if namespace is not None:
        query = query.join(EDITS, EDITS.c.seq == ENRICHMENTS.c.seq).where(
            EDITS.c.namespace == namespace
        )
    seqs = list(connection.execute(query).scalars())
    for start in range(0, len(seqs), _CHUNK):
        drop(connection, seqs[start : start + _CHUNK])
    if seqs:
        connection.execute(update(META).values(generation=META.c.generation + 1))
    return len(seqs)


def live_version(
    connection: Connection, edit_id: str, version: int, moment: datetime
) -> tuple[int, Edit] | None:
    """Return the ``seq`` and the edit of a version that is live and not expired; else ``None``."""
    row = connection.execute(
        select(EDITS)
        .where(EDITS.c.id == edit_id)
        .where(EDITS.c.version == version)
        .where(EDITS.c.status == Status.LIVE.value)
        .where(EDITS.c.valid_to.is_(None) | (EDITS.c.valid_to > microseconds(moment)))
    ).one_or_none()
    return None if row is None else (row.seq, read_edit(row))


def read_missing(
    connection: Connection,
    method: str,
    namespace: str | None,
    moment: datetime,
    limit: int,
    after: str | None,
) -> list[Edit]:
    """Read live edits, by their ids, that ``method`` has generated nothing for."""
    query = (
        select(EDITS)
        .outerjoin(ENRICHMENTS, ENRICHMENTS.c.seq == EDITS.c.seq)
        .where(EDITS.c.status == Status.LIVE.value)
        .where(EDITS.c.valid_to.is_(None) | (EDITS.c.valid_to > microseconds(moment)))
        .where(ENRICHMENTS.c.method.is_(None) | (ENRICHMENTS.c.method != method))
    )
    if namespace is not None:
        query = query.where(EDITS.c.namespace == namespace)
    if after is not None:
        query = query.where(EDITS.c.id > after)
    return [read_edit(row) for row in connection.execute(query.order_by(EDITS.c.id).limit(limit))]


def read_generated(
    connection: Connection, *, edit_id: str | None = None, namespace: str | None = None
) -> list[Generated]:
    """Read what was generated for live versions, oldest first."""
    query = (
        select(EDITS.c.seq, EDITS.c.id, EDITS.c.version, ENRICHMENTS.c.method, QUESTIONS.c.text)
        .join(ENRICHMENTS, ENRICHMENTS.c.seq == EDITS.c.seq)
        .outerjoin(QUESTIONS, QUESTIONS.c.seq == EDITS.c.seq)
        .where(EDITS.c.status == Status.LIVE.value)
        .order_by(EDITS.c.seq, QUESTIONS.c.position)
    )
    if edit_id is not None:
        query = query.where(EDITS.c.id == edit_id)
    if namespace is not None:
        query = query.where(EDITS.c.namespace == namespace)
    found = []
    for _, group in groupby(connection.execute(query), key=lambda row: row.seq):
        rows = list(group)
        texts = tuple(row.text for row in rows if row.text is not None)
        found.append(Generated(f"{rows[0].id}@{rows[0].version}", rows[0].method, texts))
    return found


def read_texts(connection: Connection) -> list[tuple[int, int, str]]:
    """Read all questions as ``seq``, position and text."""
    query = select(QUESTIONS.c.seq, QUESTIONS.c.position, QUESTIONS.c.text)
    return [(row.seq, row.position, row.text) for row in connection.execute(query)]


def read_stored(connection: Connection, after: int, dim: int) -> Iterator[StoredQuestions]:
    """Read what was written with a later stamp than ``after``, in the order of ``seq``."""
    query = (
        select(ENRICHMENTS.c.seq, QUESTIONS.c.text, QUESTIONS.c.vector)
        .outerjoin(QUESTIONS, QUESTIONS.c.seq == ENRICHMENTS.c.seq)
        .where(ENRICHMENTS.c.stamp > after)
        .order_by(ENRICHMENTS.c.seq, QUESTIONS.c.position)
        .execution_options(yield_per=2_000)
    )
    for seq, group in groupby(connection.execute(query), key=lambda row: row.seq):
        rows = [row for row in group if row.text is not None]
        vectors = read_vectors([row.vector for row in rows], dim, f"the questions of record {seq}")
        yield StoredQuestions(seq, tuple(row.text for row in rows), vectors)
