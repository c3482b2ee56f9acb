"""Writing the live edits of a memory to a file that reads back as it was."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from memedit.errors import MemoryFailure
from memedit.memory.formats.jsonl import as_line
from memedit.memory.memory import EditMemory

_PAGE = 500


def edit_lines(memory: EditMemory, namespace: str | None = None) -> Iterator[str]:
    """Go through the live edits as lines of JSON, in the order they were added."""
    last: str | None = None
    while page := memory.list(namespace=namespace, limit=_PAGE, after=last):
        for edit in page:
            yield as_line(edit)
        last = page[-1].id


def export_edits(memory: EditMemory, path: str | Path, namespace: str | None = None) -> int:
    """Write the live edits as JSON Lines, all or nothing; return their number.

    Raises:
        MemoryFailure: the file cannot be written; what was there before still is.

    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    written = 0
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            for line in edit_lines(memory, namespace):
                file.write(line + "\n")
                written += 1
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        raise MemoryFailure(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return written
