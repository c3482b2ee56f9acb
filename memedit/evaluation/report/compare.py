"""A run beside an earlier one: what moved, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from memedit.evaluation.report.run import Run
from memedit.evaluation.rows import Row

_CONDITIONS = MappingProxyType(
    {
        "amounts": "Not the same was asked",
        "form": "Prompts were put in another form",
        "scope": "The scope was judged otherwise (in-context methods)",
        "incontext": "Edits were written into prompts otherwise (in-context methods)",
        "layers": "Baked methods edited other layers",
        "company": "Another number of cases had their edits in force",
        "dtype": "The model was computed in another precision",
    }
)


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
    def apart(self) -> bool | None:
        """Whether the two 95% intervals do not overlap; None where one row has none.

        Cases drawn again out of one case are always the same: that is no interval.
        """
        now, then = self.now, self.earlier
        if 1 in (now.cases, then.cases):
            return None
        if now.low is None or now.high is None or then.low is None or then.high is None:
            return None
        return now.low > then.high or now.high < then.low


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows of two runs."""

    earlier: Run
    differences: tuple[Difference, ...]
    only_now: tuple[Row, ...]
    only_earlier: tuple[Row, ...]
    warnings: tuple[str, ...]
    """What makes the runs hard to compare: another data set, model, setting or amount."""

    @property
    def apart(self) -> tuple[Difference, ...]:
        """The rows whose intervals do not overlap, the largest difference first."""
        return tuple(sorted((d for d in self.differences if d.apart), key=lambda d: -abs(d.by)))

    @property
    def together(self) -> tuple[Difference, ...]:
        """The rows whose intervals overlap."""
        return tuple(d for d in self.differences if d.apart is False)

    @property
    def untold(self) -> tuple[Difference, ...]:
        """The rows without an interval, as costs are: chance cannot be told from a difference."""
        return tuple(d for d in self.differences if d.apart is None)


def compared(now: Run, earlier: Run) -> Comparison:
    """Set two runs side by side, row by row.

    Compared are rows of the same method, task, setting, metric and scoring. Settings answer
    different questions, so that one is never set beside another, and neither are sequences of
    different lengths (a run of several settings has the picture of that).
    """
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


def _key(row: Row) -> Sequence[str | None]:
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
    return (*said, *_settings(now, earlier), *_conditions(now, earlier))


def _settings(now: Run, earlier: Run) -> list[str]:
    """Say which settings are compared, where the runs do not have the same."""
    both = [name for name in now.settings if name in earlier.settings]
    mine = [name for name in now.settings if name not in both]
    others = [name for name in earlier.settings if name not in both]
    if not mine and not others:
        return []
    apart = [
        f"{', '.join(names)} only {where}"
        for names, where in ((mine, "in this run"), (others, "in the earlier one"))
        if names
    ]
    what = f"Only rows of {', '.join(both)} are compared" if both else "No row is compared"
    return [
        f"The settings differ ({'; '.join(apart)}). {what}: each setting asks another question."
    ]


def _conditions(now: Run, earlier: Run) -> list[str]:
    """Say what else is not alike, as far as both runs have it on record."""
    said = []
    a, b = now.manifest, earlier.manifest
    if a.get("layout") != b.get("layout"):
        said.append(
            "One of the runs is of an older memedit, which did not mix tasks and measured costs "
            "otherwise."
        )
    mine, others = now.about("dataset"), earlier.about("dataset")
    same_data = mine.get("fingerprint") == others.get("fingerprint")
    if same_data and "cases" in a and "cases" in b and a["cases"] != b["cases"]:
        said.append(
            f"The cases differ (now {mine.get('cases')}, earlier {others.get('cases')} of the same "
            "data set): differences below may come from that alone."
        )
    if "trained" in a and "trained" in b and a["trained"] != b["trained"]:
        now_trained, then = _parts(a["trained"]), _parts(b["trained"])
        said.append(f"Other trained parts were measured: now {now_trained}, earlier {then}.")
    for name, words in _CONDITIONS.items():
        if name in a and name in b and (how := _differing(a[name], b[name])):
            said.append(f"{words}: {how}.")
    return said


def _parts(trained: Sequence[Mapping[str, Any]]) -> str:
    """Name trained parts by what tells them apart: their folder and the data they learned from."""
    named = [
        f"{part['name']} (of {', '.join(str(file['file']) for file in part['files'])})"
        for part in trained
    ]
    return ", ".join(named) or "none"


def _differing(now: Any, earlier: Any) -> str:
    """Name what differs between two values, by the keys that both have where they have keys."""
    if isinstance(now, dict) and isinstance(earlier, dict):
        keys = [key for key in now if key in earlier and now[key] != earlier[key]]
        return "; ".join(f"{key} now {now[key]}, earlier {earlier[key]}" for key in keys)
    return f"now {now}, earlier {earlier}" if now != earlier else ""
