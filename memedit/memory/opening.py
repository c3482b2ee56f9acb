"""The state that an opened memory begins with."""

from __future__ import annotations

from memedit.memory import store
from memedit.memory.database import Database
from memedit.memory.encoding import Encoder
from memedit.memory.schema import SCHEMA_VERSION


def begin(database: Database, encoder: Encoder) -> store.Meta:
    """Create what is not there yet; return the state, whose encoder may be another one.

    Tables of an older version are brought to this one.  A memory without vectors takes the given
    encoder: nothing is lost.
    """
    with database.read() as connection:
        there = store.exists(connection)
    if not there:
        with database.write() as connection:
            store.create(connection, encoder.fingerprint, encoder.dim)
    with database.read() as connection:
        old = store.schema_version(connection) < SCHEMA_VERSION
    if old:
        with database.write() as connection:
            store.migrate(connection)
    with database.read() as connection:
        meta = store.read_meta(connection)
    if meta.encoder != encoder.fingerprint:
        with database.write() as connection:
            store.lock(connection)
            if not store.has_vectors(connection):
                store.set_encoder(connection, encoder.fingerprint, encoder.dim)
                meta = store.read_meta(connection)
    return meta
