"""A run beside an earlier one: what moved, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memedit.evaluation.report.run import Run
from memedit.evaluation.rows import Row


@dataclass(frozen=True, slots=True)
class Difference:
    """One row now and then."""

    now: Row
    earlier: Row

    @property
    def by(self) -> float:
        """How far the value moved."""
        return self.now.value - self.earlier.value

    @property
    def apart(self) -> bool:
        """Whether the two 95% intervals do not overlap."""
        return self.now.low > self.earlier.high or self.now.high < self.earlier.low


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows of two runs."""

    earlier: Run
    differences: tuple[Difference, ...]
    only_now: tuple[Row, ...]
    only_earlier: tuple[Row, ...]
    warnings: tuple[str, ...]
    """What makes the runs hard to compare: another data set, another model."""

    @property
    def apart(self) -> tuple[Difference, ...]:
        """The rows whose intervals do not overlap, the largest difference first."""
        return tuple(sorted((d for d in self.differences if d.apart), key=lambda d: -abs(d.by)))

    @property
    def together(self) -> tuple[Difference, ...]:
        """The others."""
        return tuple(d for d in self.differences if not d.apart)


def compared(now: Run, earlier: Run) -> Comparison:
    """Set two runs side by side, row by row."""
    before = {_key(row): row for row in earlier.rows}
    after = {_key(row): row for row in now.rows}
    return Comparison(
        earlier=earlier,
        differences=tuple(
            Difference(row, before[key]) for key, row in after.items() if key in before
        ),
        only_now=tuple(row for key, row in after.items() if key not in before),
        only_earlier=tuple(row for key, row in before.items() if key not in after),
        warnings=_warnings(now, earlier),
    )


def _key(row: Row) -> Sequence[str]:
    return (row.task, row.setting, row.scoring, row.metric, row.kind, row.method)


def _warnings(now: Run, earlier: Run) -> tuple[str, ...]:
    said = []
    for part, word in (("dataset", "data sets"), ("model", "models")):
        a, b = now.about(part), earlier.about(part)
        prints = (a.get("fingerprint"), b.get("fingerprint"))
        names = f"now {a.get('name', 'unnamed')!s}, earlier {b.get('name', 'unnamed')!s}"
        if None in prints:
            said.append(f"The {word} cannot be compared: a fingerprint is missing ({names}).")
        elif prints[0] != prints[1]:
            said.append(
                f"The {word} differ ({names}; fingerprints {prints[0]!s:.12} and "
                f"{prints[1]!s:.12}): differences below may come from that alone."
            )
    return tuple(said)
