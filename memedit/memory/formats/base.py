"""What a file format promises: records by name, and the edit of each, or why there is none."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from memedit.errors import DatasetError
from memedit.faults import faults_of
from memedit.memory.records import NewEdit
from memedit.types import EditRequest


class Unusable(Exception):
    """One record gives no edit; the message says why."""


@dataclass(frozen=True)
class Source:
    """A file's text, and what it says as one JSON document."""

    text: str

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a file.

        Raises:
            DatasetError: it is not there, or not UTF-8.

        """
        try:
            return cls(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path} is not UTF-8 text: {error}") from error

    @cached_property
    def document(self) -> Any:
        """The JSON document; ``None`` where the text is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def listed(self) -> list[Any]:
        """Return the records of a document that is a list.

        Raises:
            DatasetError: it is none.

        """
        if not isinstance(self.document, list):
            raise DatasetError("the file is not a JSON list of records")
        return self.document

    def first(self) -> Mapping[str, Any]:
        """Return the first record that is an object, or an empty one: for recognising a format."""
        listed = self.document if isinstance(self.document, list) else []
        return next((record for record in listed if isinstance(record, dict)), {})


class EditFormat(ABC):
    """A format of files that hold edits."""

    may_repeat: ClassVar[bool] = False
    """Whether an edit that stands in the file twice is meant twice."""

    @abstractmethod
    def recognises(self, source: Source) -> bool:
        """Tell whether the file looks like this format."""

    @abstractmethod
    def records(self, source: Source) -> Iterator[tuple[str, Any]]:
        """Go through all records, each with the name by which a person finds it in the file.

        Raises:
            DatasetError: the file as a whole is not of this format.

        """

    @abstractmethod
    def read(self, record: Any, namespace: str) -> NewEdit:
        """Make the edit of one record; ``namespace`` is for those that name none.

        Raises:
            Unusable: there is none in it.

        """


def as_object(record: Any) -> dict[str, Any]:
    """Return the record, or refuse what is no JSON object."""
    if not isinstance(record, dict):
        raise Unusable(f"expected an object, got {type(record).__name__}")
    return record


def request_of(fields: Mapping[str, Any]) -> EditRequest:
    """Make the request; fields that are ``None`` count as not given.

    Raises:
        Unusable: a field is missing, empty, too long or of another type.

    """
    try:
        return EditRequest.model_validate(
            {name: value for name, value in fields.items() if value is not None}
        )
    except ValidationError as error:
        raise Unusable(faults_of(error, "record")) from None


def first_text(value: Any) -> Any:
    """Return the first text in nested lists of aliases that is not blank; ``None`` without one.

    What is neither text nor list is returned as it is, for the request to refuse.
    """
    if isinstance(value, str):
        return value if value.strip() else None
    if not isinstance(value, list):
        return value
    return next((text for text in map(first_text, value) if text is not None), None)


def filled(template: Any, subject: Any) -> Any:
    """Put the subject into a prompt template such as ``The capital of {} is``."""
    if isinstance(template, str) and isinstance(subject, str):
        return template.replace("{}", subject)
    return template


def named_text(value: Any) -> Any:
    """Return the text of ``{"str": ..., "id": ...}``, or of a plain string."""
    return value.get("str") if isinstance(value, dict) else value
