"""The tables: what the system of record stores, the same on SQLite and PostgreSQL.

Nothing is ever deleted from ``memedit_edits`` and only ``status`` ever changes there.  Every row
has a ``seq`` of its own, taken from ``memedit_meta`` under that row's lock: numbers are given out
in the order of commits and without gaps, so a process that has applied ``seq`` n knows that it has
everything up to n.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 3
"""1: without adapters; 2: without questions; ``store.migrate`` brings either here."""

METADATA = MetaData()

META = Table(
    "memedit_meta",
    METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),  # always 1: the one row
    Column("schema_version", Integer, nullable=False),
    Column("encoder", Text, nullable=False),  # fingerprint of what made the vectors
    Column("dim", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),  # the last one given out
    Column("generation", BigInteger, nullable=False),  # grows when all vectors are made anew
    # grows when adapters or deployments change; the default is for databases of version 1
    Column("adapters", BigInteger, nullable=False, server_default="0"),
    # grows when generated questions are stored; the default is for databases before version 3
    Column("questions", BigInteger, nullable=False, server_default="0"),
)

EDITS = Table(
    "memedit_edits",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("namespace", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("request", Text, nullable=False),  # EditRequest as JSON
    Column("digest", String(64), nullable=False),  # of request and validity: finds the same again
    Column("statement", Text, nullable=False),
    Column("author", Text),
    Column("supersedes", String(64)),
    Column("created_at", BigInteger, nullable=False),  # microseconds since 1970, UTC; so are these:
    Column("valid_from", BigInteger),
    Column("valid_to", BigInteger),
    UniqueConstraint("id", "version", name="memedit_edits_version"),
    Index("memedit_edits_page", "status", "namespace", "id"),
    Index("memedit_edits_digest", "digest"),
)

VECTORS = Table(
    "memedit_vectors",
    METADATA,
    Column("seq", BigInteger, ForeignKey(EDITS.c.seq), primary_key=True, autoincrement=False),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),  # prompt, statement, rephrase, alias
    Column("text", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32 [dim], little-endian
)
"""The texts of live edits only: they go when the edit is superseded or retracted."""

ENRICHMENTS = Table(
    "memedit_enrichments",
    METADATA,
    Column("seq", BigInteger, ForeignKey(EDITS.c.seq), primary_key=True, autoincrement=False),
    Column("method", String(16), nullable=False),
    Column("stamp", BigInteger, nullable=False),  # memedit_meta.questions when it was written
    Column("created_at", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Index("memedit_enrichments_stamp", "stamp"),
)
"""For which versions questions were generated, also where none came of it.

Like the vectors they go with the version; ``stamp`` tells other processes what is new.
"""

QUESTIONS = Table(
    "memedit_questions",
    METADATA,
    Column("seq", BigInteger, ForeignKey(ENRICHMENTS.c.seq), primary_key=True, autoincrement=False),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32 [dim], little-endian
)
"""Texts that were generated for an edit, and are no words of its author's."""

ADAPTERS = Table(
    "memedit_adapters",
    METADATA,
    Column("name", String(96), primary_key=True),
    Column("base", String(64), nullable=False),  # fingerprint of the model it was learned for
    Column("method", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # adapter, bake
    Column("sha256", String(64), nullable=False),  # of its tensors
    Column("created_at", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("retired_at", BigInteger),
)

CARRIED = Table(
    "memedit_carried",
    METADATA,
    Column("adapter", String(96), ForeignKey(ADAPTERS.c.name), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
)
"""Which edits an adapter holds, and which version of each."""

DEPLOYMENTS = Table(
    "memedit_deployments",
    METADATA,
    Column("kind", String(16), primary_key=True),  # namespace, model
    Column("target", String(256), primary_key=True),
    Column("adapter", String(96), ForeignKey(ADAPTERS.c.name), nullable=False),
    Column("author", Text),
    Column("created_at", BigInteger, nullable=False),
)
"""What all traffic of a namespace, or to a model, goes through.  Undoing one deletes its row."""
