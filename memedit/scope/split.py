"""Which subjects of the benchmarks no classifier is trained on."""

from __future__ import annotations

import hashlib


def held_out_subject(subject: str) -> bool:
    """Tell whether a subject is of the fifth that training never sees."""
    return hashlib.sha256(subject.casefold().encode()).digest()[0] % 5 == 0
