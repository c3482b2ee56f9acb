"""From scored probes to the rows of a report.

A `Scored` is one probe under one method, and is stored as one line of JSON; a `Row` is a mean over
many of them, with its confidence interval.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np

from memedit.evaluation.bootstrap import interval
from memedit.evaluation.cases import Metric


class Scoring(StrEnum):
    """How a score came about; the two are never put into one mean."""

    GENERATED = "generated"
    """From what the model said, greedily, up to its natural end."""
    TEACHER_FORCED = "teacher_forced"
    """From the target fed to the model token by token."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One probe, asked and scored."""

    method: str
    """The registry's name, e.g. `ice`."""
    setting: str
    """E.g. `single`, `batch`, `sequential:100`."""
    task: str
    """`EditCase.task`."""
    case: str
    """`EditCase.id`; intervals are over cases."""
    metric: str
    """A `Metric`, or the name of another measurement, e.g. `fluency`."""
    kind: str
    """`Probe.kind`."""
    scoring: str | None
    """A `Scoring`; `None`: a cost, which is measured and not scored."""
    prompt: str
    expected: tuple[str, ...]
    """`Probe.answers`."""
    said: str
    """The answer with the edit applied; `""` where nothing was generated."""
    base_said: str
    """The unedited model's answer; `""` where nothing was generated."""
    score: float
    verdict: str = ""
    """A `Verdict` of `errors_of_answers`; `""` where there is nothing to judge."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Other scores of the same probe by name, e.g. `{"contains": 1.0}`: rows of their own."""
    age: int | None = None
    """How many edits were made after this one before it was scored, where that is known."""

    def as_record(self) -> dict[str, Any]:
        """Return what goes into a line of JSON."""
        return {**asdict(self), "expected": list(self.expected), "also": dict(self.also)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Make one of what a line of JSON held."""
        return cls(**{**record, "expected": tuple(record["expected"])})


@dataclass(frozen=True, slots=True)
class Row:
    """One number of the report.

    `value` is the mean over cases of each case's mean over its probes; `low` and `high` bound its
    95% interval over cases (see `bootstrap`); `n` counts the probes, `cases` the cases. Neither
    bound is known of one case, of cases that are all alike where that is no score between 0 and 1,
    and of a number that is no mean over cases, such as the most memory. What a method costs over
    all tasks has the task `""`.
    """

    method: str
    task: str
    setting: str
    metric: str
    kind: str
    """`""`: over all kinds."""
    scoring: str | None
    """A `Scoring`; `None`: a cost, which is measured and not scored."""
    value: float
    low: float | None
    high: float | None
    n: int
    cases: int = 0

    def as_record(self) -> dict[str, Any]:
        """Return what goes into the JSON output."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Key:
    method: str
    task: str
    setting: str
    metric: str
    kind: str
    scoring: str | None


def rows(scored: Iterable[Scored], *, seed: int = 0) -> list[Row]:
    """Sum up scored probes, one row per method, task, setting, metric, kind and scoring.

    Where a metric has kinds, a row over all of them (kind `""`) comes first. The other scores of a
    probe (`also`) are metrics of their own, `edit_success_contains`. Where cases ask one thing in
    several questions, as MQuAKE does, `multihop_any` is the share of cases in which at least one
    question was answered, which is how its authors count.

    Args:
        scored: in any order.
        seed: of the bootstrap; a row's interval does not depend on which other rows there are.

    """
    gathered: dict[_Key, dict[str, list[float]]] = {}
    for key, case, value in _values(list(scored)):
        gathered.setdefault(key, {}).setdefault(case, []).append(value)
    return [_row(key, cases, seed) for key, cases in sorted(gathered.items(), key=_place(gathered))]


def _place(gathered: Mapping[_Key, object]) -> Callable[[tuple[_Key, object]], tuple[Any, ...]]:
    """Sort as things came, and a metric's kinds by name after the row over all of them."""
    groups: dict[tuple[str | None, ...], int] = {}
    for key in gathered:
        groups.setdefault(_group(key), len(groups))
    return lambda item: (groups[_group(item[0])], item[0].kind)


def _group(key: _Key) -> tuple[str | None, ...]:
    return (key.method, key.task, key.setting, key.scoring, key.metric)


def _values(scored: Sequence[Scored]) -> Iterator[tuple[_Key, str, float]]:
    asked: dict[tuple[_Key, str], list[float]] = {}
    for one in scored:
        named = {one.metric: one.score}
        named.update({f"{one.metric}_{name}": value for name, value in one.also.items()})
        for metric, value in named.items():
            for kind in dict.fromkeys(("", one.kind)):
                key = _Key(one.method, one.task, one.setting, metric, kind, one.scoring)
                yield key, one.case, value
        if one.metric == Metric.MULTIHOP and one.scoring == Scoring.GENERATED:
            key = _Key(
                one.method, one.task, one.setting, f"{one.metric}_any", one.kind, one.scoring
            )
            asked.setdefault((key, one.case), []).append(one.score)
    if any(len(questions) > 1 for questions in asked.values()):
        for (key, case), questions in asked.items():
            for kind in dict.fromkeys(("", key.kind)):
                yield replace(key, kind=kind), case, max(questions)


def is_share(metric: str, scoring: str | None) -> bool:
    """Tell whether a measurement lies between 0 and 1: scores do, but for the few named here.

    >>> is_share("edit_success_contains", "generated"), is_share("fluency_before", "generated")
    (True, False)
    """
    unbounded = metric.startswith(("fluency", "kl")) or metric.endswith("_log_probability")
    return scoring is not None and not unbounded


def _row(key: _Key, cases: Mapping[str, Sequence[float]], seed: int) -> Row:
    means = np.array([sum(values) / len(values) for values in cases.values()])
    share = is_share(key.metric, key.scoring)
    # A generator per row, from its name: `hash` would differ from process to process.
    generator = np.random.default_rng([seed, zlib.crc32(repr(key).encode())])
    low, high = interval(means, generator, share=share) or (None, None)
    return Row(
        **asdict(key),
        value=float(means.mean()),
        low=low,
        high=high,
        n=sum(map(len, cases.values())),
        cases=len(cases),
    )
