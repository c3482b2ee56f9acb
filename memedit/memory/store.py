"""The statements: what is read from and written to the tables, inside a given transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, Select, delete, func, insert, inspect, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from memedit.errors import MemoryFailure
from memedit.memory.rows import StoredEdit, edit_row, read_edit, read_vectors, vector_rows
from memedit.memory.schema import (
    ADAPTERS,
    CARRIED,
    DEPLOYMENTS,
    EDITS,
    ENRICHMENTS,
    META,
    METADATA,
    QUESTIONS,
    SCHEMA_VERSION,
    VECTORS,
)
from memedit.memory.texts import EditText
from memedit.types import Edit, Status

_CREATE_LOCK = 7_236_501_142  # any number that no other application on the server takes
_CHUNK = 500  # values in one IN (...)


@dataclass(frozen=True, slots=True)
class Meta:
    """The state of the memory as a whole."""

    encoder: str
    dim: int
    seq: int
    generation: int
    adapters: int
    questions: int


def exists(connection: Connection) -> bool:
    """Tell whether the tables are there."""
    return inspect(connection).has_table(META.name)


def create(connection: Connection, encoder: str, dim: int) -> None:
    """Create the tables, unless another process has done so meanwhile."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATE_LOCK})
    if exists(connection):
        return
    METADATA.create_all(connection)
    connection.execute(
        insert(META).values(
            id=1, schema_version=SCHEMA_VERSION, encoder=encoder, dim=dim, seq=0, generation=0
        )
    )


def schema_version(connection: Connection) -> int:
    """Return the version of the tables that are there.

    Raises:
        MemoryFailure: they have no state.

    """
    # not all columns: tables of another version may lack one
    version: int | None = connection.execute(select(META.c.schema_version)).scalar_one_or_none()
    if version is None:
        raise MemoryFailure("the database holds memedit's tables but not their state")
    return version


def migrate(connection: Connection) -> None:
    """Bring tables of an older version to this one; others stay as they are.

    What they hold is not touched, but a memedit of that version refuses the database then.
    """
    connection.execute(update(META).values(seq=META.c.seq))  # the only writer from here on
    steps = {
        1: ("adapters", [ADAPTERS, CARRIED, DEPLOYMENTS]),
        2: ("questions", [ENRICHMENTS, QUESTIONS]),
    }
    for version in range(schema_version(connection), SCHEMA_VERSION):
        counter, tables = steps[version]
        connection.exec_driver_sql(
            f"ALTER TABLE {META.name} ADD COLUMN {counter} BIGINT NOT NULL DEFAULT 0"
        )
        METADATA.create_all(connection, tables=tables)
        connection.execute(update(META).values(schema_version=version + 1))


def read_meta(connection: Connection) -> Meta:
    """Read the state of the memory.

    Raises:
        MemoryFailure: the tables were made by another version of memedit.

    """
    version = schema_version(connection)
    if version != SCHEMA_VERSION:
        raise MemoryFailure(
            f"the database has schema version {version}, this memedit reads "
            f"version {SCHEMA_VERSION}; use the memedit that wrote it, export, and import here"
        )
    row = connection.execute(select(META)).one()
    return Meta(row.encoder, row.dim, row.seq, row.generation, row.adapters, row.questions)


def lock(connection: Connection) -> Meta:
    """Become the only writer until the transaction ends; return the state as it now is."""
    connection.execute(update(META).values(seq=META.c.seq))
    return read_meta(connection)


def advance(connection: Connection, n: int) -> None:
    """Take the next ``n`` numbers; the caller holds the lock."""
    connection.execute(update(META).values(seq=META.c.seq + n))


def set_encoder(connection: Connection, encoder: str, dim: int) -> None:
    """Note that all vectors are now those of another encoder."""
    connection.execute(
        update(META).values(encoder=encoder, dim=dim, generation=META.c.generation + 1)
    )


def insert_edits(connection: Connection, stored: Sequence[StoredEdit]) -> None:
    """Write new versions with their vectors."""
    if not stored:
        return
    connection.execute(insert(EDITS), [edit_row(one.seq, one.edit) for one in stored])
    insert_vectors(connection, stored)


def insert_vectors(connection: Connection, stored: Sequence[StoredEdit]) -> None:
    """Write the vectors of versions that are there."""
    rows = [row for one in stored for row in vector_rows(one)]
    if rows:
        connection.execute(insert(VECTORS), rows)


def has_vectors(connection: Connection) -> bool:
    """Tell whether any vector is stored."""
    return connection.execute(select(VECTORS.c.seq).limit(1)).first() is not None


def delete_all_vectors(connection: Connection) -> None:
    """Remove every vector."""
    connection.execute(delete(VECTORS))


def close_version(connection: Connection, edit: Edit) -> None:
    """Mark a live version as superseded; its vectors and generated questions go."""
    this = (EDITS.c.id == edit.id) & (EDITS.c.version == edit.version)
    seq = connection.execute(select(EDITS.c.seq).where(this)).scalar_one()
    connection.execute(update(EDITS).where(this).values(status=Status.SUPERSEDED.value))
    for table in (VECTORS, QUESTIONS, ENRICHMENTS):
        connection.execute(delete(table).where(table.c.seq == seq))


def read_version(connection: Connection, edit_id: str, version: int | None) -> Edit | None:
    """Read one version, or the newest."""
    query = select(EDITS).where(EDITS.c.id == edit_id)
    if version is not None:
        query = query.where(EDITS.c.version == version)
    row = connection.execute(query.order_by(EDITS.c.version.desc()).limit(1)).one_or_none()
    return None if row is None else read_edit(row)


def read_versions(connection: Connection, edit_id: str) -> list[Edit]:
    """Read all versions, oldest first."""
    query = select(EDITS).where(EDITS.c.id == edit_id).order_by(EDITS.c.version)
    return [read_edit(row) for row in connection.execute(query)]


def read_page(
    connection: Connection,
    namespace: str | None,
    status: Status | None,
    limit: int,
    after: tuple[str, int] | None,
) -> list[Edit]:
    """Read edits in the order of id and version, from behind ``after``.

    ``status`` ``None`` reads the newest version of every edit: that which nothing has superseded.
    """
    query = select(EDITS)
    if namespace is not None:
        query = query.where(EDITS.c.namespace == namespace)
    if status is None:
        query = query.where(EDITS.c.status != Status.SUPERSEDED.value)
    else:
        query = query.where(EDITS.c.status == status.value)
    if after is not None:
        query = query.where(
            (EDITS.c.id > after[0]) | ((EDITS.c.id == after[0]) & (EDITS.c.version > after[1]))
        )
    query = query.order_by(EDITS.c.id, EDITS.c.version).limit(limit)
    return [read_edit(row) for row in connection.execute(query)]


def read_same(connection: Connection, digests: Sequence[str]) -> dict[str, Edit]:
    """Find the oldest live edit of each digest."""
    found: dict[str, Edit] = {}
    for start in range(0, len(digests), _CHUNK):
        query = (
            select(EDITS)
            .where(EDITS.c.digest.in_(digests[start : start + _CHUNK]))
            .where(EDITS.c.status == Status.LIVE.value)
            .order_by(EDITS.c.seq)
        )
        for row in connection.execute(query):
            found.setdefault(row.digest, read_edit(row))
    return found


def read_changes(connection: Connection, after: int, dim: int) -> Iterator[StoredEdit]:
    """Read everything written behind ``after`` in the order it was written."""
    return _read_stored(connection, EDITS.c.seq > after, dim)


def read_live(connection: Connection, dim: int) -> Iterator[StoredEdit]:
    """Read all live edits in the order they were written."""
    return _read_stored(connection, EDITS.c.status == Status.LIVE.value, dim)


def read_live_edits(connection: Connection) -> list[tuple[int, Edit]]:
    """Read all live edits without their vectors."""
    query = select(EDITS).where(EDITS.c.status == Status.LIVE.value).order_by(EDITS.c.seq)
    return [(row.seq, read_edit(row)) for row in connection.execute(query)]


def count_by_status(connection: Connection) -> dict[str, int]:
    """Count the stored versions."""
    query = select(EDITS.c.status, func.count()).group_by(EDITS.c.status)
    return {status: n for status, n in connection.execute(query)}


def _read_stored(
    connection: Connection, where: ColumnElement[bool], dim: int
) -> Iterator[StoredEdit]:
    query: Select[tuple[object, ...]] = (
        select(EDITS, VECTORS.c.kind, VECTORS.c.text, VECTORS.c.vector)
        .outerjoin(VECTORS, VECTORS.c.seq == EDITS.c.seq)
        .where(where)
        .order_by(EDITS.c.seq, VECTORS.c.position)
        .execution_options(yield_per=2_000)
    )
    for seq, group in groupby(connection.execute(query), key=lambda row: row.seq):
        rows = list(group)
        edit = read_edit(rows[0])
        texts = [row for row in rows if row.kind is not None]
        yield StoredEdit(
            seq,
            edit,
            tuple(EditText(row.kind, row.text) for row in texts),
            read_vectors([row.vector for row in texts], dim, edit.ref),
        )
