"""Adapters looked through as often as their files change, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from memedit.errors import ConflictError, MemeditError, MissingResourceError
from memedit.library.library import Library
from memedit.library.manifest import CODEBOOK, MANIFEST, PEFT_CONFIG, PEFT_TENSORS

MISSING: Final = "missing"
DAMAGED: Final = "damaged"
_FILES: Final = (MANIFEST, PEFT_CONFIG, PEFT_TENSORS, CODEBOOK)

Print = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an adapter cannot be served."""

    reason: str
    """``missing``, ``damaged`` or ``other-base``."""
    message: str


class Inspection:
    """Tells whether the adapters of a library can be served.  Safe for several threads.

    Args:
        library: where they lie.
        base: fingerprint of the model that is served.
        registered: returns SHA-256 of an adapter's tensors as it was registered; empty: unknown.

    """

    def __init__(self, library: Library, base: str, registered: Callable[[str], str]) -> None:
        self._library = library
        self._base = base
        self._registered = registered
        self._seen: dict[str, tuple[Print, Fault | None]] = {}

    def fault(self, name: str) -> Fault | None:
        """Say what keeps an adapter from being served; reads its files if they were touched."""
        now = self._print(name)  # before they are read: what changes meanwhile shows later
        seen = self._seen.get(name)
        if seen is not None and seen[0] == now:
            return seen[1]
        try:
            self._library.checked(name, self._base, self._registered(name))
            found = None
        except MissingResourceError as error:
            self._seen.pop(name, None)  # a folder that is not there yet, or cannot be read now
            there = self._library.folder(name).is_dir()
            return Fault(DAMAGED if there else MISSING, str(error))
        except ConflictError as error:
            found = Fault("other-base", str(error))
        except MemeditError as error:
            found = Fault(DAMAGED, str(error))
        self._seen[name] = (now, found)
        return found

    def unchanged(self, name: str) -> bool:
        """Tell whether an adapter was found to be good and not touched since: reads nothing."""
        seen = self._seen.get(name)
        return seen is not None and seen[1] is None and seen[0] == self._print(name)

    def _print(self, name: str) -> Print:
        """Return by what a changed file is noticed, for those that are there.

        Size and times alone could be put back by who copies another file over one; the time of
        the last change of the file's entry cannot.
        """
        folder = self._library.folder(name)
        found = []
        for one in _FILES:
            try:
                s = (folder / one).stat()
            except OSError:
                continue  # whoever reads it says why it cannot be
            found.append((one, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
        return tuple(found)
