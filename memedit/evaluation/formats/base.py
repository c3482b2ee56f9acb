"""What a format promises: all cases of a file, and a fault for all that is not in them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memedit.errors import DatasetError
from memedit.evaluation.cases import EditCase, Fault, Metric, Probe, Replies
from memedit.types import EditRequest

NO_ANSWER = "no answer is given: scored only by whether the model's own answer stays"


class Unusable(Exception):
    """One record gives no case; the message says why."""


@dataclass(slots=True)
class Reading:
    """What a file holds."""

    name: str
    """The file's, in front of every case's number."""
    task: str
    cases: list[EditCase] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    records: int = 0


@dataclass(slots=True)
class Draft:
    """A record while it is read: the probes found so far."""

    id: str
    faults: list[Fault]
    probes: list[Probe] = field(default_factory=list)

    def fault(self, place: str, reason: str, *, dropped: bool = True) -> None:
        """Name a part of the record that is not scored, or (not dropped) scored all the same."""
        self.faults.append(Fault(self.id + place, reason, dropped))

    def ask(
        self, metric: Metric, kind: str, place: str, prompt: Any, answers: tuple[str, ...]
    ) -> None:
        """Add a probe, or the fault that it is none."""
        if not isinstance(prompt, str) or not prompt.strip():
            self.fault(place, "the probe has no prompt")
            return
        if not answers:
            if metric is not Metric.LOCALITY:
                self.fault(place, "the probe has no answer")
                return
            self.fault(place, NO_ANSWER, dropped=False)
        self.probes.append(Probe(metric, kind, prompt.strip(), answers))

    def case(
        self,
        task: str,
        requests: tuple[EditRequest, ...],
        *,
        replies: Replies | None = None,
        relation: str = "",
    ) -> EditCase:
        """Make the case."""
        for number, request in enumerate(requests):
            if request.subject not in request.prompt:
                place = f".requests[{number}]" if len(requests) > 1 else ""
                reason = "the subject does not stand in the prompt as it is spelled"
                self.fault(place, reason, dropped=False)
        return EditCase(self.id, task, requests, tuple(self.probes), replies, relation)


class CaseFormat(ABC):
    """A format of files that hold edits with their probes."""

    @abstractmethod
    def read(self, path: Path, reading: Reading) -> None:
        """Read a file into `reading`: every record becomes a case or is named in a fault.

        Raises:
            DatasetError: the file as a whole is not of this format.

        """


def read_json(path: Path) -> Any:
    """Return a file's JSON document.

    Raises:
        DatasetError: it cannot be read, or is none.

    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not a JSON document: {error}") from error


def records(document: Any, reading: Reading, part: str = "") -> Iterator[tuple[Draft, Any]]:
    """Go through a list of records and count them.

    Raises:
        DatasetError: it is no list.

    """
    if not isinstance(document, list):
        what = part or "the file"
        raise DatasetError(f"{what} is no JSON list of records; got {type(document).__name__}")
    for number, record in enumerate(document):
        reading.records += 1
        yield Draft(f"{reading.name}{part}[{number}]", reading.faults), record


def as_object(record: Any, name: str = "") -> dict[str, Any]:
    """Return the record, or its field of that name, or refuse what is no JSON object."""
    if not isinstance(record, dict):
        where = f"{name}: " if name else ""
        got = "nothing: it is missing" if record is None else type(record).__name__
        raise Unusable(f"{where}expected an object, got {got}")
    return record


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, nothing as an empty one, anything else as a list of it."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def request_of(**fields: Any) -> EditRequest:
    """Make the request; fields that are `None` count as not given.

    Raises:
        Unusable: a field is missing, empty, too long or of another type.

    """
    given: Mapping[str, Any] = {name: value for name, value in fields.items() if value is not None}
    try:
        return EditRequest.model_validate(given)
    except ValidationError as error:
        reasons = (
            f"{'.'.join(map(str, fault['loc'])) or 'record'}: "
            f"{'missing or empty' if fault['type'] == 'missing' else fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise Unusable("; ".join(reasons)) from None


def alternatives(*values: Any) -> tuple[str, ...]:
    """Return every text in values, lists and lists of lists of aliases, in order and each once.

    The data sets write a list of aliases, a list of several right answers, and a list of the
    aliases of each of several right answers; in all three any of the texts is right.
    """
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, str):
            if value.strip():
                found[value.strip()] = None
        elif isinstance(value, (list, tuple)):
            found.update(dict.fromkeys(alternatives(*value)))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[str(value)] = None
    return tuple(found)


def first(answers: tuple[str, ...]) -> str | None:
    """Return the preferred answer, `None` without any."""
    return answers[0] if answers else None


def filled(template: Any, subject: Any) -> Any:
    """Put the subject into a prompt template such as `The capital of {} is`."""
    if isinstance(template, str) and isinstance(subject, str):
        return template.replace("{}", subject)
    return template


def named_text(value: Any) -> Any:
    """Return the text of `{"str": ..., "id": ...}`, or of a plain string."""
    return value.get("str") if isinstance(value, dict) else value
