"""Files of prompts: JSON Lines with ``prompt`` or ``messages``, or plain lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memedit.errors import InvalidInputError

Prompt = str | list[dict[str, Any]]


def read_prompts(file: Path) -> list[Prompt]:
    """Read the prompts of a file.

    Raises:
        InvalidInputError: it cannot be read, or a line holds no prompt; says which.

    """
    return [prompt_of(record, where) for where, record in read_records(file)]


def read_records(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield where each record stands, and the record: a JSON value, or a line of plain text."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read prompts from {file}: {error}") from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        where = f"{file}, line {number}"
        if text[0] not in '{["':
            yield where, text
            continue
        try:
            yield where, json.loads(text)
        except ValueError as error:
            if text[0] == '"':  # a line of plain text may begin with a quotation
                yield where, text
                continue
            raise InvalidInputError(f"{where} is not valid JSON: {error}") from error


def prompt_of(record: Any, where: str) -> Prompt:
    """Return the prompt of a record.

    Raises:
        InvalidInputError: it has none.

    """
    if isinstance(record, str):
        return record
    if isinstance(record, dict) and isinstance(record.get("prompt"), str):
        return str(record["prompt"])
    turns = record.get("messages") if isinstance(record, dict) else None
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        return turns
    raise InvalidInputError(
        f'{where}: expected {{"prompt": "text"}}, {{"messages": [turns]}} or a line of plain text'
    )
