"""Edits as rows of the tables, and back, exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pydantic import ValidationError

from memedit.errors import MemoryFailure
from memedit.memory.encoding import Vectors
from memedit.memory.texts import EditText
from memedit.types import Edit, EditRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StoredEdit:
    """One version of an edit with the ``seq`` it was written under, and its texts while live."""

    seq: int
    edit: Edit
    texts: tuple[EditText, ...]
    vectors: Vectors
    """float32 ``[n_texts, dim]``."""


def edit_row(seq: int, edit: Edit) -> dict[str, Any]:
    """Return the row of ``memedit_edits``."""
    return {
        "seq": seq,
        "id": edit.id,
        "version": edit.version,
        "namespace": edit.namespace,
        "status": edit.status.value,
        "phase": edit.phase.value,
        "request": _as_json(edit.request),
        "digest": digest_of(edit),
        "statement": edit.statement,
        "author": edit.author,
        "supersedes": edit.supersedes,
        "created_at": microseconds(edit.created_at),
        "valid_from": microseconds(edit.valid_from),
        "valid_to": microseconds(edit.valid_to),
    }


def vector_rows(stored: StoredEdit) -> list[dict[str, Any]]:
    """Return the rows of ``memedit_vectors``."""
    return [
        {
            "seq": stored.seq,
            "position": position,
            "kind": text.kind,
            "text": text.text,
            "vector": vector.astype("<f4").tobytes(),
        }
        for position, (text, vector) in enumerate(zip(stored.texts, stored.vectors, strict=True))
    ]


def read_edit(row: Any) -> Edit:
    """Make the edit of a row of ``memedit_edits``.

    Raises:
        MemoryFailure: the row does not hold what was written.

    """
    try:
        return Edit(
            id=row.id,
            version=row.version,
            namespace=row.namespace,
            request=EditRequest.model_validate_json(row.request),
            statement=row.statement,
            phase=row.phase,
            status=row.status,
            valid_from=moment_of(row.valid_from),
            valid_to=moment_of(row.valid_to),
            author=row.author,
            created_at=_EPOCH + row.created_at * _MICROSECOND,
            supersedes=row.supersedes,
        )
    except (ValidationError, OverflowError) as error:
        raise MemoryFailure(f"the record of {row.id}@{row.version} is damaged: {error}") from None


def read_vectors(blobs: Sequence[bytes], dim: int, ref: str) -> Vectors:
    """Return the vectors of one edit, float32 ``[n_texts, dim]``.

    Raises:
        MemoryFailure: a vector has another length.

    """
    if any(len(blob) != 4 * dim for blob in blobs):
        raise MemoryFailure(f"a vector of {ref} does not hold {dim} numbers; run `memedit reindex`")
    rows = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), dim)
    return rows.astype(np.float32)


def digest_of(edit: Edit) -> str:
    """Return what is equal for the same request with the same validity in the same namespace."""
    facts = [
        edit.namespace,
        _as_json(edit.request),
        microseconds(edit.valid_from),
        microseconds(edit.valid_to),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _as_json(request: EditRequest) -> str:
    return json.dumps(request.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def microseconds(moment: datetime | None) -> int | None:
    """Return a moment as the tables have it."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def moment_of(stored: int | None) -> datetime | None:
    """Return the moment that a number of the tables stands for."""
    return None if stored is None else _EPOCH + stored * _MICROSECOND
