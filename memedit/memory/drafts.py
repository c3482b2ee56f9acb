"""From a request to the version that will be written: checked, dated, with its vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from pydantic import ValidationError

from memedit.errors import InvalidInputError
from memedit.faults import faults_of
from memedit.memory.encoding import Vectors
from memedit.memory.records import NewEdit
from memedit.memory.rows import StoredEdit
from memedit.memory.texts import texts_of
from memedit.types import Edit, EditRequest, Operation

_LONGEST_AUTHOR = 256
_LETTERS = r"[^\W_]+"


def checked_draft(edit_id: str, new: NewEdit) -> Edit:
    """Return the first version of a new edit.

    Raises:
        InvalidInputError: namespace, author or validity cannot be stored, or an erasure that
            cannot be kept.

    """
    _check_erasure(new.request)
    try:
        edit = Edit(
            id=edit_id,
            version=1,
            namespace=new.namespace,
            request=new.request,
            statement=new.request.plain_statement(),
            valid_from=_in_utc(new.valid_from),
            valid_to=_in_utc(new.valid_to),
            author=checked_author(new.author),
            created_at=datetime.now(UTC),
        )
    except ValidationError as error:
        why = faults_of(error, "edit")
        raise InvalidInputError(f"the edit cannot be stored: {why}") from None
    if any("\0" in text.text for text in texts_of(new.request)):
        raise InvalidInputError("the edit cannot be stored: its text holds a NUL character")
    return edit


def _check_erasure(request: EditRequest) -> None:
    """Refuse an erasure whose answer nobody could watch, or which tells by itself.

    Neither text is named: the message may be logged.
    """
    if request.operation is not Operation.ERASE or request.ground_truth is None:
        return
    secret, said = (
        f" {' '.join(re.findall(_LETTERS, text.casefold()))} "
        for text in (request.ground_truth, request.target_new)
    )
    if not secret.strip():
        raise InvalidInputError(
            "the ground truth of the erasure holds no letter or digit, so that no answer can be "
            "watched for it; expected the text that must not be said"
        )
    if secret in said:
        raise InvalidInputError(
            "what is to be said in place of the erased fact holds its ground truth; expected a "
            'safe answer, such as "I don\'t know."'
        )


def checked_author(author: str | None) -> str | None:
    """Return ``author``, or refuse it."""
    if author is None:
        return None
    if not isinstance(author, str) or not 0 < len(author) <= _LONGEST_AUTHOR or "\0" in author:
        raise InvalidInputError(
            f"author must be a text of 1 to {_LONGEST_AUTHOR} characters without NUL, or None"
        )
    return author


def with_vectors(seq: int, edit: Edit, vectors: Mapping[str, Vectors]) -> StoredEdit:
    """Return a live version with the vectors of its texts."""
    texts = texts_of(edit.request)
    return StoredEdit(seq, edit, texts, np.stack([vectors[text.text] for text in texts]))


def without_vectors(seq: int, edit: Edit, dim: int) -> StoredEdit:
    """Return a version that no search shall find."""
    return StoredEdit(seq, edit, (), np.empty((0, dim), dtype=np.float32))


def _in_utc(moment: datetime | None) -> datetime | None:
    """Return the same moment in UTC; a naive one as it is, for the model to refuse."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return moment
    return moment.astimezone(UTC)
