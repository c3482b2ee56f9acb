"""Files that do not hold what they are said to: how many records, why, and what would read them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from memedit.errors import DatasetError
from memedit.evaluation.formats.base import Reading
from memedit.evaluation.formats.catalog import FORMATS

_REASONS = 3


def which_fits(path: Path, but: str) -> str:
    """Say which other format makes the most cases of a file, and how to ask for it.

    Args:
        path: the file.
        but: the registry's name of the format that was tried.

    Returns:
        Words that end a sentence; empty where no format makes any case of it.

    """
    if not path.is_file():
        return ""
    found: list[tuple[int, str]] = []
    for name in FORMATS.names():
        reading = Reading(path.stem, path.stem)
        if name != but:
            try:
                FORMATS.get(name)().read(path, reading)
            except DatasetError:
                continue
            found.append((len(reading.cases), name))
    cases, name = max(found, key=lambda one: one[0], default=(0, ""))
    return f"it reads as {name}: use --dataset {name}:{path}" if cases else ""


def unfit_file(format: str, path: Path, reading: Reading) -> str:
    """Say of a file without any case how many records it has, why none is one, and what would fit.

    Args:
        format: the registry's name of the format that it was read as.
        path: the file.
        reading: what came of it.

    """
    if not reading.records:
        return f"{path} holds no records"
    reasons = Counter(fault.reason for fault in reading.faults if fault.dropped)
    why = "; ".join(f"{n:,} x {reason}" for reason, n in reasons.most_common(_REASONS))
    if len(reasons) > _REASONS:
        why += f"; and {len(reasons) - _REASONS} other reasons"
    records = "record" if reading.records == 1 else f"{reading.records:,} records"
    said = f"of the {records} of {path} none can be scored as {format}: {why}"
    fits = which_fits(path, but=format)
    return f"{said}; {fits}" if fits else said
