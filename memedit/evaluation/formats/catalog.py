"""Which formats there are."""

from __future__ import annotations

from memedit.evaluation.formats.base import CaseFormat
from memedit.registry import Registry

FORMATS: Registry[CaseFormat] = Registry(
    "data set format",
    package="memedit.evaluation.formats",
    base=CaseFormat,  # type: ignore[type-abstract]
    group="memedit.case_formats",
)
