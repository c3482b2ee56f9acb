"""Facts to trace, read from KnowEdit's files and from known_1000."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError
from memedit.evaluation.cases import Fault
from memedit.modeling.facts import TracePrompt

ANSWERS = ("attribute", "ground_truth")
"""Where a record says what is true: known_1000's name for it, and KnowEdit's."""


def read_trace_prompts(
    path: Path, limit: int | None = None
) -> tuple[list[TracePrompt], list[Fault]]:
    """Read prompts with subjects and true answers; what cannot be traced is named.

    Args:
        path: a JSON list of objects with ``prompt``, ``subject`` and ``attribute`` or
            ``ground_truth`` (a text, or lists of texts, of which the first counts).
        limit: read so many prompts at most.

    Raises:
        DatasetError: it is no such list, or holds no prompt at all.

    """
    try:
        records: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(records, list):
        raise DatasetError(
            f"{path} holds {type(records).__name__}, expected a JSON list of records with prompt, "
            f"subject and {' or '.join(ANSWERS)}"
        )
    prompts: list[TracePrompt] = []
    faults: list[Fault] = []
    for number, record in enumerate(records):
        if limit is not None and len(prompts) >= limit:
            break
        where = f"{path.stem}[{number}]"
        if not isinstance(record, dict):
            faults.append(Fault(where, f"is {type(record).__name__}, no record"))
            continue
        prompt, subject = _text(record.get("prompt")), _text(record.get("subject"))
        answer = next((a for a in (_text(record.get(name)) for name in ANSWERS) if a), "")
        lacks = [
            name
            for name, value in (
                ("prompt", prompt),
                ("subject", subject),
                (" or ".join(ANSWERS), answer),
            )
            if not value
        ]
        if lacks:
            faults.append(Fault(where, f"lacks {', '.join(lacks)}"))
        else:
            prompts.append(TracePrompt(prompt, subject, answer))
    if not prompts:
        first = f" (the first: {faults[0].where} {faults[0].reason})" if faults else ""
        raise DatasetError(f"{path} holds no fact to trace{first}")
    return prompts, faults


def _text(value: Any) -> str:
    """Return a text, or the first one in lists of lists; empty where there is none."""
    while isinstance(value, list):
        value = value[0] if value else None
    return value.strip() if isinstance(value, str) else ""
