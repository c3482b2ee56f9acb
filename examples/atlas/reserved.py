"""What training leaves for the tests: AtlasEdit's test edits, and some subjects altogether."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from examples.atlas.world import DATA, stable_hash

NEVER_CONTRADICTED = 6
"""Of a hundred subjects, so many are never contradicted in a context of the training."""


def may_be_contradicted(subject: str) -> bool:
    """Whether contexts of the training may say something untrue about the subject.

    They may about nearly all: of a training in which half of the subjects were never
    contradicted, the model learnt whom contexts are right about.
    """
    return stable_hash(f"contradicted:{subject}") % 100 >= NEVER_CONTRADICTED


def reserved_edits() -> frozenset[tuple[str, str]]:
    """Subject and new answer of every edit of AtlasEdit's test split: no context says these."""
    return frozenset(
        (subject, answer.strip())
        for file in sorted((DATA / "atlasedit").glob("*_test.json"))
        for subject, answer in _edits(json.loads(file.read_text(encoding="utf-8")))
    )


def _edits(value: Any) -> Iterator[tuple[str, str]]:
    """Every subject with a new target, wherever it stands."""
    if isinstance(value, list):
        for item in value:
            yield from _edits(item)
    elif isinstance(value, dict):
        if isinstance(value.get("target_new"), str) and isinstance(value.get("subject"), str):
            yield value["subject"], value["target_new"]
        for item in value.values():
            yield from _edits(item)
