"""Names of edits: ``e-`` and twelve characters, sorted by the time they were made."""

from __future__ import annotations

import re
import secrets
import threading
import time

from memedit.errors import NotFoundError

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: sorts as its values do
_START_MS = 1_577_836_800_000  # 2020-01-01; 41 bits of milliseconds last until 2089
_RANDOM_BITS = 19
_REF = re.compile(r"(e-[0-9a-z]{12})(?:@([1-9][0-9]{0,8}))?")


class IdMaker:
    """Makes ids that only ever grow, also within one millisecond.  Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def make(self, n: int) -> list[str]:
        """Return ``n`` new ids, ascending."""
        ids = []
        with self._lock:
            now = (time.time_ns() // 1_000_000 - _START_MS) << _RANDOM_BITS
            if now > self._last:
                self._last = now | secrets.randbits(_RANDOM_BITS)
            for _ in range(n):
                self._last += 1
                ids.append(_spelled(self._last))
        return ids


def split_ref(ref: str) -> tuple[str, int | None]:
    """Split ``id`` or ``id@version``.

    Raises:
        NotFoundError: it is neither, so no edit has that name.

    """
    match = _REF.fullmatch(ref)
    if match is None:
        raise NotFoundError(
            f"{ref[:80]!r} names no edit; expected an id such as e-0123456789ab, or id@version"
        )
    return match[1], int(match[2]) if match[2] else None


def _spelled(number: int) -> str:
    return "e-" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(55, -1, -5))
