"""A run beside an earlier one: what moved, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from types import MappingProxyType

from memedit.evaluation.bootstrap import wilson
from memedit.evaluation.report.labels import FEW_CASES, NOTABLE, OF_THE_MACHINE, is_other_score
from memedit.evaluation.report.run import Run
from memedit.evaluation.report.tables import without_repeats
from memedit.evaluation.rows import Row, is_share
from memedit.evaluation.run_differences import NOT_RECORDED, short_print, unlike

_CONDITIONS = MappingProxyType(
    {
        "amounts": "Not the same was asked",
        "form": "Prompts were put in another form",
        "scope": "The scope was judged otherwise (in-context methods)",
        "incontext": "Edits were written into prompts otherwise (in-context methods)",
        "layers": "Baked methods edited other layers",
        "trained": "Other trained parts were measured",
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
        """Whether the two 95% intervals do not overlap; None where they cannot tell.

        Time and memory depend on the machine, which no interval over cases knows of; some rows have
        no interval; and one by bootstrap of few cases is too narrow, so that it may tell that two
        rows overlap, but not that they are apart. Older runs have intervals of one case, and of
        cases that are all alike, without a width: those are none.
        """
        now, then = self.now, self.earlier
        if self.of_the_machine:
            return None
        if 1 in (now.cases, then.cases):
            return None
        if now.low is None or now.high is None or then.low is None or then.high is None:
            return None
        if now.low == now.high or then.low == then.high:
            return None
        apart = now.low > then.high or now.high < then.low
        return None if apart and not (_wide_enough(now) and _wide_enough(then)) else apart

    @property
    def of_the_machine(self) -> bool:
        """Whether it is time or memory."""
        return self.now.metric in OF_THE_MACHINE


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
        """The rows whose intervals do not overlap, the notable ones first.

        Those are scores before costs, a metric before its other scores (`edit_success_contains`),
        what lies between 0 and 1 before what has other units, and then the largest difference.
        """
        return tuple(sorted((d for d in self.differences if d.apart), key=_notable))

    @property
    def together(self) -> tuple[Difference, ...]:
        """The rows whose intervals overlap."""
        return tuple(d for d in self.differences if d.apart is False)

    @property
    def untold(self) -> tuple[Difference, ...]:
        """The rows whose intervals, where they have any, cannot tell chance from a difference."""
        return tuple(d for d in self.differences if d.apart is None and not d.of_the_machine)

    @property
    def of_the_machine(self) -> tuple[Difference, ...]:
        """The rows of time and memory."""
        return tuple(d for d in self.differences if d.of_the_machine)

    @property
    def says(self) -> str:
        """How many rows differ, and of how many that cannot be told."""
        said = (
            f"{len(self.apart):,} of {len(self.differences):,} rows differ by more than chance "
            "(*): their 95% intervals do not overlap."
        )
        if self.untold:
            said += (
                f" {len(self.untold):,} have no interval, or one drawn from fewer than {FEW_CASES} "
                "cases, so that this cannot be told."
            )
        if self.of_the_machine:
            said += (
                f" {len(self.of_the_machine):,} are time or memory, which depends on the machine "
                "and what else it ran."
            )
        return said

    @property
    def folded(self) -> tuple[tuple[str, tuple[Difference, ...]], ...]:
        """What is shown when it is opened, each part with its title."""
        parts = (
            ("more rows that differ by more than chance", self.apart[NOTABLE:]),
            ("rows within chance", self.together),
            (
                f"rows without an interval, or with one drawn from fewer than {FEW_CASES} cases: "
                "chance cannot be told from a difference",
                self.untold,
            ),
            (
                "rows of time and memory: it depends on the machine and what else it ran",
                self.of_the_machine,
            ),
        )
        return tuple((f"{len(own):,} {words}", own) for words, own in parts if own)


def compared(now: Run, earlier: Run) -> Comparison:
    """Set two runs side by side, row by row.

    Compared are rows of the same method, task, setting, metric and scoring. Settings answer
    different questions, so that one is never set beside another, and neither are sequences of
    different lengths (a run of several settings has the picture of that).
    """
    before = {_key(row): row for row in without_repeats(earlier.rows)}
    after = {_key(row): row for row in without_repeats(now.rows)}
    return Comparison(
        earlier=earlier,
        differences=tuple(
            Difference(row, before[key]) for key, row in after.items() if key in before
        ),
        only_now=tuple(row for key, row in after.items() if key not in before),
        only_earlier=tuple(row for key, row in before.items() if key not in after),
        warnings=_warnings(now, earlier),
    )


def _notable(one: Difference) -> tuple[bool, bool, bool, float]:
    metric, scoring = one.now.metric, one.now.scoring
    return (scoring is None, is_other_score(metric), not is_share(metric, scoring), -abs(one.by))


def _wide_enough(row: Row) -> bool:
    """Tell whether an interval is of many cases, or Wilson's, which is as wide as few need it.

    A row does not say how its interval came about, but Wilson's follows from its value and cases.
    An older run that does not count its cases has none that is wide enough.
    """
    if row.cases >= FEW_CASES:
        return True
    if not row.cases or not is_share(row.metric, row.scoring) or not 0 <= row.value <= 1:
        return False
    bounds = wilson(row.value * row.cases, row.cases)
    return all(
        mine is not None and isclose(mine, its, abs_tol=1e-6)
        for mine, its in zip((row.low, row.high), bounds, strict=True)
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
                f"The {word} differ ({names}; fingerprints {short_print(prints[0])} and "
                f"{short_print(prints[1])}): differences below may come from that alone."
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
    for name, words in _CONDITIONS.items():
        if name not in a or name not in b:
            continue
        found = unlike(name, a[name], b[name])
        found = [one for one in found if NOT_RECORDED not in (one.now, one.then)]
        if found:
            alone = not isinstance(a[name], Mapping)  # then the words above name it
            how = "; ".join(
                f"{'' if alone else f'{one.what} '}now {one.now}, earlier {one.then}"
                for one in found
            )
            said.append(f"{words}: {how}.")
    return said
