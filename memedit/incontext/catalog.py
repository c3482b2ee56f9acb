"""The in-context methods, by name."""

from __future__ import annotations

from memedit.incontext.base import InContextMethod
from memedit.registry import Registry

METHODS: Registry[InContextMethod] = Registry(
    kind="in-context method",
    package="memedit.incontext",
    base=InContextMethod,  # type: ignore[type-abstract]
    group="memedit.incontext",
)
