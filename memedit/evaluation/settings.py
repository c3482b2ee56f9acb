"""In which company an edit is measured: alone, with all others at once, or after many others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from memedit.errors import SettingsError
from memedit.evaluation.cases import EditCase
from memedit.evaluation.mixing import mixed

_FORM = re.compile(r"(single|batch|sequential)(?::(\d+))?")


class Mode(StrEnum):
    """How several cases' edits stand to each other."""

    SINGLE = "single"
    """Each case's edits by themselves, and taken back before the next."""
    BATCH = "batch"
    """All at once."""
    SEQUENTIAL = "sequential"
    """One after another, on what the earlier ones left; nothing is scored before the last."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A mode, and how many edits it takes together."""

    mode: Mode
    size: int | None = None
    """`batch:N`: N cases at once, and the next N on the unedited model. `sequential:N`: N edits."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `single`, `batch`, `batch:N` or `sequential:N`.

        Raises:
            SettingsError: it is none of these.

        """
        found = _FORM.fullmatch(text.strip())
        if found and found[2] and int(found[2]) < 1:
            found = None
        mode = Mode(found[1]) if found else None
        if found is None or mode is None or (mode is Mode.SINGLE) > (found[2] is None):
            raise SettingsError(
                f"no setting {text!r}; expected single, batch, batch:N or sequential:N, "
                "where N is at least 1"
            )
        if mode is Mode.SEQUENTIAL and found[2] is None:
            raise SettingsError("sequential needs a number of edits, for example sequential:100")
        return cls(mode, int(found[2]) if found[2] else None)

    def __str__(self) -> str:
        return self.mode.value if self.size is None else f"{self.mode.value}:{self.size}"

    def chosen(self, cases: Sequence[EditCase]) -> tuple[EditCase, ...]:
        """Return the cases that are measured: all, or those of the first N edits of a sequence.

        Where cases are edited together, tasks are mixed first (see `mixed`): `batch:N` and
        `sequential:N` hold them all, and of the same cases a longer sequence begins with a shorter
        one. A case is never cut: one that would go beyond N edits ends a sequence before it.

        Raises:
            SettingsError: a sequence is to be longer than the data set.

        """
        if self.mode is Mode.SINGLE:
            return tuple(cases)
        if self.mode is Mode.BATCH or self.size is None:
            return mixed(cases)
        chosen: list[EditCase] = []
        edits = 0
        for case in mixed(cases):
            if edits + len(case.requests) > self.size:
                break
            chosen.append(case)
            edits += len(case.requests)
        there = sum(len(case.requests) for case in cases)
        if there < self.size or not chosen:
            raise SettingsError(
                f"{self} needs {self.size} edits, and the chosen cases have {there}; "
                "take fewer, or raise --limit"
            )
        return tuple(chosen)

    def parts(self, cases: Sequence[EditCase], at_once: int) -> list[list[EditCase]]:
        """Split cases into those that are edited and asked in one go.

        Args:
            cases: in their order.
            at_once: for single edits: how many a method can keep apart at the same time.

        """
        size = {Mode.SINGLE: at_once, Mode.BATCH: self.size, Mode.SEQUENTIAL: None}[self.mode]
        step = size or max(1, len(cases))
        return [list(cases[start : start + step]) for start in range(0, len(cases), step)]


def read_settings(text: str) -> tuple[Setting, ...]:
    """Read settings joined by commas, `single,batch` or `sequential:10,sequential:100`; each once.

    Raises:
        SettingsError: one of them is none, or there is none.

    """
    return tuple(dict.fromkeys(Setting.parse(one) for one in text.split(",")))
