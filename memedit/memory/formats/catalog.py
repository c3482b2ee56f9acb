"""Which formats there are."""

from __future__ import annotations

from memedit.memory.formats.base import EditFormat
from memedit.registry import Registry

FORMATS: Registry[EditFormat] = Registry(
    "edit format",
    package="memedit.memory.formats",
    base=EditFormat,  # type: ignore[type-abstract]
    group="memedit.formats",
)
AUTO = "auto"
