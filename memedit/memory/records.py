"""What goes into the memory and what comes out beside edits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memedit.types import DEFAULT_NAMESPACE, EditRequest


@dataclass(frozen=True, slots=True)
class NewEdit:
    """A request with all that is stored beside it."""

    request: EditRequest
    namespace: str = DEFAULT_NAMESPACE
    author: str | None = None
    valid_from: datetime | None = None
    """Aware; ``None`` is since ever."""
    valid_to: datetime | None = None
    """Aware; ``None`` is for ever."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Texts that were generated for one version of an edit, as further ways to find it."""

    ref: str
    """``id@version``."""
    method: str
    """What made them."""
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether the index agrees with the database."""

    edits: int
    """Live edits in the database."""
    vectors: int
    """Vectors of theirs."""
    faults: tuple[str, ...]
    """Everything that is not as it should be, in words."""

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.faults
