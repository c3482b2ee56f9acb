"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memedit.errors import InvalidInputError


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to write into, which becomes ``target`` when the block ends well.

    It lies beside ``target``, so that one rename puts it there; when the block fails, it is
    removed and nothing is left.  Its files are on disk, not only in the system's cache, before
    the rename: a folder that is found is whole.

    Raises:
        InvalidInputError: ``target`` is there already, or cannot be written.

    """
    target = Path(target)
    check_new(target)
    draft = target.parent / f".{target.name}.{uuid.uuid4().hex[:12]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        yield draft
        _readable_alike(draft)
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        check_new(target)  # a rename would take the place of an empty folder
        draft.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise InvalidInputError(f"{target} was not written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_new(target: Path) -> None:
    """Refuse a folder that is there or cannot be written; long work asks before it begins.

    Raises:
        InvalidInputError: it is there already, or what it would lie in cannot be written.

    """
    if os.path.lexists(target):
        raise InvalidInputError(
            f"{target} is there already and is not overwritten; give a folder that does not exist"
        )
    above = Path(target).absolute().parent
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "cannot be written" if above.is_dir() else "is no folder"
        raise InvalidInputError(f"{target} cannot be made: {above} {what}")


def _readable_alike(folder: Path) -> None:
    """Let every file be read by whom this process lets read its files.

    safetensors writes for its own user alone, and a server that is to load it may be another's.
    """
    probe = folder / f".{uuid.uuid4().hex}"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
