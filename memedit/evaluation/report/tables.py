"""Rows side by side: a table per task, setting and way of scoring, a column per method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memedit.evaluation.formats.knowedit import WORD_FOR_WORD
from memedit.evaluation.report.labels import AGE, COSTS, DASH, measure, metric_order
from memedit.evaluation.rows import Row


@dataclass(frozen=True, slots=True)
class Line:
    """One metric, over all kinds (`kind == ""`) or one of them."""

    metric: str
    kind: str
    cells: tuple[Row | None, ...]
    """One per method of the table, None where it has no such row."""
    best: frozenset[int]
    """Which cells hold the best value; `none` never does, for it has no edit to fail."""
    only: str = ""
    """The kind that all probes of a line over all kinds are of, where there is one."""

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
    """Arrange rows; every row stands in one table, but a metric's only kind is told once."""
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
    alone = only_kinds(rows)
    names: dict[str, set[str]] = {}
    for row in rows:
        names.setdefault(row.metric, set()).add(alone.get(_sum_of(row), ""))
    # A kind is told once where it is the only one for every method.
    only = {metric: kinds.pop() for metric, kinds in names.items() if len(kinds) == 1}
    lines = []
    for metric, kind in sorted(
        {(row.metric, row.kind) for row in rows}, key=lambda k: (metric_order(k[0]), k[1])
    ):
        single = only.get(metric, "")
        if kind and kind == single:
            continue
        line = tuple(cells.get((metric, kind, method)) for method in methods)
        lines.append(Line(metric, kind, line, _best(metric, line), single))
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


def without_repeats(rows: Iterable[Row]) -> list[Row]:
    """Leave out the rows of kinds that say what the row over all kinds says: there is one kind."""
    rows = list(rows)
    only = only_kinds(rows)
    return [row for row in rows if not row.kind or only.get(_sum_of(row)) != row.kind]


def only_kinds(rows: Iterable[Row]) -> dict[tuple[str | None, ...], str]:
    """Return (task, setting, scoring, metric, method) -> its kind, where all its probes are of one.

    By age nothing is left out: there the kinds are what is told.
    """
    counts: dict[tuple[str | None, ...], dict[str, int]] = {}
    for row in rows:
        if row.metric != AGE:
            counts.setdefault(_sum_of(row), {})[row.kind] = row.n
    return {
        key: next(kind for kind in of_kind if kind)
        for key, of_kind in counts.items()
        if "" in of_kind and len(of_kind) == 2 and len(set(of_kind.values())) == 1
    }


def floors(rows: Iterable[Row]) -> frozenset[str]:
    """Return the tasks whose edit success is a floor: opinions, whose score is their sentiment.

    There an answer counts that is one of the replies word for word, which tells little: the
    unedited model may say one of them as well.
    """
    return frozenset(
        row.task
        for row in rows
        if row.metric == "sentiment" or (row.metric == "edit_success" and row.kind == WORD_FOR_WORD)
    )


def _sum_of(row: Row) -> tuple[str | None, ...]:
    return (row.task, row.setting, row.scoring, row.metric, row.method)
