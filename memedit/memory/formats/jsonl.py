"""Our own format: one edit per line, with everything that is stored beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, ValidationError

from memedit.errors import DatasetError
from memedit.faults import faults_of
from memedit.memory.formats.base import EditFormat, Source, Unusable, as_object
from memedit.memory.records import NewEdit
from memedit.registry import register
from memedit.types import Edit, EditRequest, Namespace


class JsonlRecord(EditRequest):
    """A line: the fields of an edit request, and where, when and by whom it holds."""

    namespace: Namespace | None = None
    author: str | None = None
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None


@register("jsonl")
class Jsonl(EditFormat):
    """JSON Lines: ``{"prompt": ..., "subject": ..., "target_new": ..., "namespace": ...}``.

    What ``memedit export`` writes reads back as it was.
    """

    may_repeat = True  # a memory may hold the same edit twice

    def recognises(self, source: Source) -> bool:
        """Look for an object with a prompt and a target on the first line."""
        first = next((line for line in source.text.split("\n") if line.strip()), None)
        if first is None:
            return True
        try:
            record = json.loads(first)
        except ValueError:
            return False
        return isinstance(record, dict) and {"prompt", "target_new"} <= record.keys()

    def records(self, source: Source) -> Iterator[tuple[str, Any]]:
        """Go through the lines that are not blank."""
        if isinstance(source.document, list):
            raise DatasetError("it is one JSON list, not one JSON object per line")
        for number, line in enumerate(source.text.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", line

    def read(self, record: Any, namespace: str) -> NewEdit:
        """Read one line; unknown fields are refused."""
        try:
            line = JsonlRecord.model_validate(as_object(json.loads(record)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise Unusable(f"not JSON: {error}") from None
        except ValidationError as error:
            raise Unusable(faults_of(error, "record")) from None
        fields = {name: getattr(line, name) for name in EditRequest.model_fields}
        if line.valid_from and line.valid_to and line.valid_to <= line.valid_from:
            raise Unusable("valid_to must be later than valid_from")
        return NewEdit(
            request=EditRequest.model_validate(fields),
            namespace=line.namespace or namespace,
            author=line.author,
            valid_from=line.valid_from,
            valid_to=line.valid_to,
        )


def as_line(edit: Edit) -> str:
    """Write a stored edit as one line, without its end; what has the default value is left out."""
    fields = edit.request.model_dump(mode="json", exclude_defaults=True)
    fields["namespace"] = edit.namespace
    for name, value in (
        ("author", edit.author),
        ("valid_from", edit.valid_from),
        ("valid_to", edit.valid_to),
    ):
        if value is not None:
            fields[name] = value.isoformat() if isinstance(value, datetime) else value
    return json.dumps(fields, ensure_ascii=False)
