"""Whether the live edits in memory are those of the database, text by text and vector by vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection

from memedit.memory import question_rows, store
from memedit.memory.encoding import Encoder
from memedit.memory.entries import keys_of
from memedit.memory.live import LiveEdits
from memedit.memory.records import VerifyReport
from memedit.memory.texts import own_texts, texts_of


def compare(
    connection: Connection, live: LiveEdits, encoder: Encoder, faults: Sequence[str]
) -> VerifyReport:
    """Compare one state of the database with ``live``; ``faults`` are those found before."""
    found = list(faults)
    held = live.keys()
    n_edits = n_vectors = 0
    edits, questions = live.edits(), live.questions()
    # both in the order of `seq`
    made = question_rows.read_stored(connection, 0, encoder.dim)
    generated = next(made, None)
    for stored in store.read_live(connection, encoder.dim):
        ref, namespace = stored.edit.ref, stored.edit.namespace
        n_edits += 1
        vectors = stored.vectors
        while generated is not None and generated.seq < stored.seq:
            found.append(f"record {generated.seq} has questions, but is not live")
            generated = next(made, None)
        if generated is not None and generated.seq == stored.seq:
            if questions.pop(stored.seq, ()) != generated.texts:
                found.append(f"{ref}: its generated questions are not those of the index")
            vectors = np.concatenate([vectors, generated.vectors])
            generated = next(made, None)
        n_vectors += len(vectors)
        request = stored.edit.request
        # a memory may be older than inverses are
        if stored.texts not in (texts_of(request), own_texts(request)):
            found.append(f"{ref}: its stored texts are not those of its request")
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.allclose(lengths, 1, atol=1e-3):
            found.append(f"{ref}: a stored vector has not the length 1")
        if edits.pop(stored.seq, None) != stored.edit:
            found.append(f"{ref}: in the database, but not the same in the index")
            continue
        keys = keys_of(stored.seq, len(vectors))
        if not held.get(namespace, set()).issuperset(keys):
            found.append(f"{ref}: some of its vectors are not in the index")
            continue
        held[namespace].difference_update(keys)
        if not np.array_equal(live.vectors(namespace, keys), vectors):
            found.append(f"{ref}: its vectors in the index are not those of the database")
    if generated is not None:
        found.append(f"record {generated.seq} has questions, but is not live")
    found += [f"record {seq}: its questions stand in the index alone" for seq in questions]
    found += [f"{edit.ref}: in the index, but not live in the database" for edit in edits.values()]
    found += [
        f"namespace {namespace}: {len(keys)} vectors in the index belong to no live edit"
        for namespace, keys in held.items()
        if keys
    ]
    return VerifyReport(n_edits, n_vectors, tuple(found))
