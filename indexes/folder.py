"""How an index lies in a folder: one data file and a manifest that names it.

The manifest is the last thing written, by an atomic rename: a reader sees the old index or the new
one, never a half of each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memedit.errors import InvalidInputError, MemoryFailure

MANIFEST = "manifest.json"
FORMAT = "memedit-index/1"


def write_folder(
    folder: Path, facts: dict[str, Any], suffix: str, write: Callable[[Path], None]
) -> None:
    """Write one index: ``write`` makes the data file, ``facts`` go into the manifest.

    Raises:
        MemoryFailure: the folder cannot be written; what was there before is still there.

    """
    data = folder / f"index-{uuid.uuid4().hex[:12]}{suffix}"
    draft = folder / f"{data.stem}.manifest"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(data)
        _sync(data)
        manifest = {"format": FORMAT, **facts, "file": data.name, "sha256": _checksum(data)}
        draft.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _sync(draft)
        draft.replace(folder / MANIFEST)
        _sync(folder)
    except (OSError, RuntimeError) as error:  # faiss reports a failed write as RuntimeError
        for leftover in (data, draft):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        raise MemoryFailure(f"cannot write the index into {folder}: {error}") from error
    for stale in folder.glob("index-*"):
        if stale.name != data.name:
            with contextlib.suppress(OSError):
                stale.unlink()


def read_folder(folder: Path, kind: str) -> tuple[dict[str, Any], Path]:
    """Read the manifest and check the data file against it.

    Returns:
        The manifest (with an integer ``dim`` and ``count``), and the path of the data file.

    Raises:
        InvalidInputError: no index of this ``kind`` there, or its data is not what was written.

    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{folder} holds no readable index: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InvalidInputError(f"{folder / MANIFEST} is not a manifest of the format {FORMAT!r}")
    if manifest.get("index") != kind:
        raise InvalidInputError(f"{folder} holds a {manifest.get('index')!r} index, not {kind!r}")
    name = manifest.get("file")
    if not isinstance(name, str) or Path(name).name != name:
        raise InvalidInputError(f"{folder / MANIFEST} names no data file in its folder")
    for fact in ("dim", "count"):
        if type(manifest.get(fact)) is not int or manifest[fact] < 0:
            raise InvalidInputError(f"{folder / MANIFEST} has no usable {fact!r}")
    try:
        checksum = _checksum(folder / name)
    except OSError as error:
        raise InvalidInputError(f"cannot read {folder / name}: {error}") from error
    if checksum != manifest.get("sha256"):
        raise InvalidInputError(
            f"{folder / name} is damaged: its checksum is not that of the manifest; "
            "delete the folder and build the index anew"
        )
    return manifest, folder / name


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
