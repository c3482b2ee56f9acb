"""Rows side by side: a table per task, setting and way of scoring, a column per method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from memedit.evaluation.report.labels import AGE, COSTS, DASH, HEADLINES, measure, metric_order
from memedit.evaluation.rows import Row

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Line:
    """One metric, over all kinds (`kind == ""`) or one of them."""

    metric: str
    kind: str
    cells: tuple[Row | None, ...]
    """One per method of the table, None where it has no such row."""
    best: frozenset[int]
    """Which cells hold the best value; `none` never does, for it has no edit to fail."""

    @property
    def n(self) -> str:
        """How many probes; a range where methods differ."""
        counts = sorted({cell.n for cell in self.cells if cell})
        return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}{DASH}{counts[-1]:,}"


@dataclass(frozen=True, slots=True)
class Table:
    """Methods side by side on one task; generated and teacher-forced never share a table."""

    task: str
    setting: str
    scoring: str | None
    """None: costs."""
    methods: tuple[str, ...]
    lines: tuple[Line, ...]


def score_tables(rows: Sequence[Row], methods: Sequence[str]) -> tuple[Table, ...]:
    """Arrange the scores: every row but those of cost and of age, which are shown apart."""
    return tables([row for row in rows if row.metric not in (*COSTS, AGE)], methods)


def cost_tables(rows: Sequence[Row], methods: Sequence[str]) -> tuple[Table, ...]:
    """Arrange what edits cost, task by task."""
    return tables([row for row in rows if row.metric in COSTS and row.task], methods)


def age_tables(rows: Sequence[Row], methods: Sequence[str]) -> tuple[Table, ...]:
    """Arrange edit success by age."""
    return tables([row for row in rows if row.metric == AGE], methods)


def tables(rows: Sequence[Row], methods: Sequence[str]) -> tuple[Table, ...]:
    """Arrange rows; every row stands in exactly one table."""
    found: dict[tuple[str, str, str | None], list[Row]] = {}
    for row in rows:
        found.setdefault((row.task, row.setting, row.scoring), []).append(row)
    order = {scoring: place for place, scoring in enumerate((None, "generated", "teacher_forced"))}
    places = {key: place for place, key in enumerate(dict.fromkeys((k[0], k[1]) for k in found))}
    keys = sorted(found, key=lambda key: (places[key[:2]], order.get(key[2], 3), key[2] or ""))
    return tuple(_table(*key, found[key], methods) for key in keys)


def _table(
    task: str, setting: str, scoring: str | None, rows: list[Row], among: Sequence[str]
) -> Table:
    there = {row.method for row in rows}
    methods = tuple(method for method in among if method in there)
    cells = {(row.metric, row.kind, row.method): row for row in rows}
    lines = []
    for metric, kind in sorted(
        {(row.metric, row.kind) for row in rows}, key=lambda k: (metric_order(k[0]), k[1])
    ):
        line = tuple(cells.get((metric, kind, method)) for method in methods)
        lines.append(Line(metric, kind, line, _best(metric, line)))
    return Table(task, setting, scoring, methods, tuple(lines))


def _best(metric: str, cells: Iterable[Row | None]) -> frozenset[int]:
    better = measure(metric).higher_is_better
    values = {
        place: cell.value for place, cell in enumerate(cells) if cell and cell.method != "none"
    }
    if better is None or len(values) < 2:
        return frozenset()
    top = max(values.values()) if better else min(values.values())
    return frozenset(place for place, value in values.items() if value == top)


@dataclass(frozen=True, slots=True)
class Glance:
    """A method's headline scores in one setting: plain means over the tasks."""

    method: str
    setting: str
    scoring: str
    values: tuple[tuple[float, int] | None, ...]
    """Per headline metric: the mean over tasks and how many tasks it is of."""


def glances(
    rows: Sequence[Row], methods: Sequence[str], domains: Mapping[str, str] = _NONE
) -> tuple[Glance, ...]:
    """Sum up `HEADLINES`; the mean gives every task the same weight, whatever its size.

    Args:
        rows: of all methods.
        methods: in their order.
        domains: task -> its domain, where there are trained parts: tasks of different domains are
            summed up apart.

    """
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    where = {row: _where(row, domains) for row in rows}
    for row in rows:
        if row.kind == "" and row.metric in HEADLINES and row.scoring is not None:
            key = (row.scoring, where[row], row.method)
            found.setdefault(key, {}).setdefault(row.metric, []).append(row.value)
    order = {method: place for place, method in enumerate(methods)}
    settings = list(dict.fromkeys(where.values()))
    keys = sorted(found, key=lambda k: (k[0], settings.index(k[1]), order.get(k[2], len(order))))
    return tuple(
        Glance(
            method,
            setting,
            scoring,
            tuple(_mean(found[scoring, setting, method].get(name)) for name in HEADLINES),
        )
        for scoring, setting, method in keys
    )


def _where(row: Row, domains: Mapping[str, str]) -> str:
    domain = domains.get(row.task)
    return f"{row.setting}, {domain}" if domain else row.setting


def _mean(values: list[float] | None) -> tuple[float, int] | None:
    return (sum(values) / len(values), len(values)) if values else None
