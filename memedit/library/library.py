"""A folder of adapters, each in an immutable folder named after it and its version.

::

    LIBRARY/memedit-capitals-1/   adapter_config.json, adapter_model.safetensors, manifest.json
    LIBRARY/memedit-capitals-2/
    LIBRARY/memedit-codebook-1/   adapter.safetensors, manifest.json
    LIBRARY/.versions/            an empty file for each name that was ever given

A folder is there whole or not at all, is never changed, and is deleted late: a server that has it
loaded reads it again at times, and ends when it is gone.  A name is given once: servers and their
caches know an adapter by its name alone, also when its folder is gone and the memory that knew of
it is another one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from memedit.errors import ConflictError, InvalidInputError, MissingResourceError, SettingsError
from memedit.library.manifest import (
    LIBRARY,
    MANIFEST,
    StoredAdapter,
    check_stored,
    digest_of,
    read_stored,
)
from memedit.types import ADAPTER_NAME

VERSIONS: Final = ".versions"
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


def checked_id(adapter_id: str) -> str:
    """Return what stands between ``memedit-`` and the version in an adapter's name.

    Raises:
        SettingsError: that is no id.

    """
    if _ID.fullmatch(adapter_id) is None:
        raise SettingsError(
            f"{adapter_id[:80]!r} is no id of an adapter; expected 1 to 64 of a-z, 0-9 and -"
        )
    return adapter_id


class Library:
    """The adapters below one folder; nothing is kept in memory, so that it may be shared."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()

    def names(self) -> list[str]:
        """Return the names of all that are there, those of one id by version."""
        if not self.root.is_dir():
            return []
        found = (ADAPTER_NAME.fullmatch(one.name) for one in self.root.iterdir() if one.is_dir())
        return [m[0] for m in sorted(filter(None, found), key=lambda m: (m[1], int(m[2])))]

    def folder(self, name: str) -> Path:
        """Return where an adapter lies.

        Raises:
            InvalidInputError: that is no name of an adapter, so no path is made of it.

        """
        if ADAPTER_NAME.fullmatch(name) is None:
            raise InvalidInputError(
                f"{name[:80]!r} is no name of an adapter; expected memedit-ID-VERSION"
            )
        return self.root / name

    def read(self, name: str) -> StoredAdapter:
        """Read an adapter's manifest.

        Raises:
            MissingResourceError: it is not there.
            InvalidInputError: it is not what memedit writes, or is another one than its name says.

        """
        stored = read_stored(self.folder(name))
        if stored.name != name:
            raise InvalidInputError(
                f"{stored.folder} says that it is {stored.name!r}; it was renamed or copied by "
                "hand. Register it again"
            )
        return stored

    def checked(self, name: str, base: str, sha256: str = "") -> StoredAdapter:
        """Read an adapter and look through everything that a server would read of it.

        Args:
            name: of the adapter.
            base: fingerprint of the model that is served.
            sha256: of its tensors when it was registered; empty: unknown.

        Raises:
            ConflictError: it was learned for another model.
            MissingResourceError: it is not there.
            InvalidInputError: it is damaged, see ``check_stored``, or is not what was registered.

        """
        stored = self.read(name)
        if stored.base != base:
            raise ConflictError(
                f"{name} was learned for the model with fingerprint {stored.base[:12]}, served is "
                f"{base[:12]} (adapters.base); on another model it does not do what was measured"
            )
        if sha256 and stored.sha256 != sha256:
            raise InvalidInputError(
                f"{stored.folder} holds tensors with the SHA-256 {stored.sha256[:12]}, registered "
                f"under that name were {sha256[:12]}; a version never changes: add another "
                "content as another version"
            )
        check_stored(stored)
        return stored

    def add(
        self, source: Path, adapter_id: str | None = None, taken: Collection[str] = ()
    ) -> StoredAdapter:
        """Copy a folder that ``memedit adapt`` or ``bake --as lora`` wrote into the library.

        Args:
            source: the folder; it is not changed.
            adapter_id: with a version behind it, it becomes the name; ``None`` takes one made of
                the tensors' digest.  What is there under that id stays, this is its next version.
            taken: names that are given elsewhere; see ``take_name``.

        Returns:
            The adapter as it lies in the library.

        Raises:
            MissingResourceError: a file is not there.
            InvalidInputError: the folder cannot be served, the id is no id, or the library cannot
                be written; nothing was added.

        """
        stored = read_stored(Path(source))
        if _FINGERPRINT.fullmatch(stored.base) is None:
            raise InvalidInputError(
                f"{source} does not say for which model it is (base {stored.base[:20]!r}); write "
                "it with 'memedit adapt' or 'memedit bake'"
            )
        places = check_stored(stored)
        chosen = stored.sha256[:12] if adapter_id is None else checked_id(adapter_id)
        files = {one: digest_of(stored.folder / one) for one in stored.parts}
        shelf = {
            "kind": stored.kind,
            "rank": stored.rank,
            "tensors": {name: list(place.shape) for name, place in places.items()},
            "files": files,
            "registered_at": datetime.now(UTC).isoformat(),
        }
        while True:
            name = self.take_name(chosen, taken)
            manifest = {**stored.manifest, LIBRARY: {"name": name, **shelf}}
            if self._write(stored, name, manifest):
                return self.read(name)

    def remove(self, name: str) -> None:
        """Delete an adapter's folder; no server may have it loaded any more.

        Raises:
            MissingResourceError: it is not there.

        """
        folder = self.folder(name)
        gone = self._draft(name)
        if folder.is_dir():
            self._mark(name, again=True)  # an earlier memedit may have added it
        try:
            folder.rename(gone)  # at once out of sight, whatever happens next
        except OSError as error:
            raise MissingResourceError(f"{folder} cannot be removed: {error}") from error
        shutil.rmtree(gone, ignore_errors=True)

    def take_name(self, adapter_id: str, taken: Collection[str] = ()) -> str:
        """Return the name of the next version, which nobody is given again.

        Args:
            adapter_id: what stands before the version.
            taken: names that are given elsewhere, as by a memory that knows several libraries;
                the version is above theirs, too.

        Raises:
            InvalidInputError: the library cannot be written.

        """
        while True:
            known = (*self.names(), *self._marks(), *taken)
            matches = (ADAPTER_NAME.fullmatch(name) for name in known)
            highest = max((int(m[2]) for m in matches if m and m[1] == adapter_id), default=0)
            name = f"memedit-{adapter_id}-{highest + 1}"
            if self._mark(name):
                return name

    def gave(self, name: str) -> bool:
        """Tell whether an adapter of this name was ever in this library."""
        return name in self._marks()

    def _marks(self) -> list[str]:
        marks = self.root / VERSIONS
        return [one.name for one in marks.iterdir()] if marks.is_dir() else []

    def _mark(self, name: str, *, again: bool = False) -> bool:
        """Note for good that a name was given; tell whether it is the first time."""
        marks = self.root / VERSIONS
        try:
            marks.mkdir(parents=True, exist_ok=True)
            (marks / name).touch(exist_ok=again)
            for folder in (marks, self.root):
                _sync(folder)
        except FileExistsError:
            return False
        except OSError as error:
            raise InvalidInputError(f"{self.root} cannot be written: {error}") from error
        return True

    def _write(self, stored: StoredAdapter, name: str, manifest: dict[str, object]) -> bool:
        """Write a folder whole; tell whether nobody else was quicker to take that name."""
        draft = self._draft(name)
        try:
            draft.mkdir(parents=True)
            for one in stored.parts:
                shutil.copyfile(stored.folder / one, draft / one)
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
            for path in (*draft.iterdir(), draft):
                _sync(path)
            check_stored(replace(stored, folder=draft))  # as it was copied
            if (self.root / name).exists():
                return False
            draft.rename(self.root / name)
            _sync(self.root)
        except OSError as error:
            if (self.root / name).exists():
                return False
            raise InvalidInputError(f"{self.root} cannot be written: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return True

    def _draft(self, name: str) -> Path:
        return self.root / f".{name}.{uuid.uuid4().hex[:12]}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
