"""The table at the top: a line per method, plain means over tasks, and what edits cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from memedit.evaluation.report.labels import COSTS, DASH, GLANCE, measure, number, written
from memedit.evaluation.report.run import Spent
from memedit.evaluation.report.tables import floors
from memedit.evaluation.rows import Row

_NONE: Mapping[str, str] = MappingProxyType({})
_BEFORE = "general_ability"
"""Shown beside what the unedited model has on the same."""
_Key = tuple[str, str, str, str]
"""Scoring, setting, method, metric."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number, as it is shown."""

    text: str
    note: str = ""
    share: float | None = None
    """What a bar behind it shows, between 0 and 1."""


@dataclass(frozen=True, slots=True)
class GlanceLine:
    """A method in one setting, its cells in the order of the columns."""

    method: str
    setting: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class Glance:
    """The table of one way of scoring; costs, which are no scores, stand in the first one."""

    scoring: str
    head: tuple[tuple[str, str], ...]
    """(title, over how many tasks it is a mean) of each column."""
    lines: tuple[GlanceLine, ...]
    floors: tuple[str, ...] = ()
    """Tasks that are left out of the mean edit success, which is a floor there."""

    @property
    def note(self) -> str:
        """What is left out of the means; nothing where nothing is."""
        if not self.floors:
            return ""
        return (
            f"Edit success is without {', '.join(self.floors)}: the answer being one of the "
            "replies word for word is a floor, which the unedited model may reach too; the score "
            "there is Sentiment (teacher-forced)."
        )

    @property
    def settings(self) -> tuple[str, ...]:
        """Every setting that a line is of."""
        return tuple(dict.fromkeys(line.setting for line in self.lines))


def glances(
    rows: Sequence[Row],
    methods: Sequence[str],
    domains: Mapping[str, str] = _NONE,
    spent: Sequence[Spent] = (),
) -> tuple[Glance, ...]:
    """Sum up `GLANCE`, as far as it was measured: every task has the same weight.

    Of opinions edit success is a floor and left out (see `tables.floors`).

    Args:
        rows: of all methods.
        methods: in their order.
        domains: task -> its domain, where there are trained parts: tasks of different domains are
            summed up apart.
        spent: what edits cost.

    """
    found: dict[_Key, list[float]] = {}
    settings: dict[str, str] = {}
    low = floors(rows)
    left_out: dict[str, dict[str, None]] = {}
    for row in rows:
        name = row.metric.removesuffix("_before")
        if row.kind or row.scoring is None or name not in GLANCE or not row.task:
            continue
        if name == "edit_success" and row.task in low:
            left_out.setdefault(row.scoring, {})[row.task] = None
            continue
        where = _where(row, domains)
        settings[where] = row.setting
        found.setdefault((row.scoring, where, row.method, row.metric), []).append(row.value)
    order = {method: place for place, method in enumerate(methods)}
    made = []
    for place, scoring in enumerate(sorted({key[0] for key in found})):
        own = {key: values for key, values in found.items() if key[0] == scoring}
        metrics = [name for name in GLANCE if any(key[3] == name for key in own)]
        lines = sorted(
            {key[1:3] for key in own if key[3] in metrics},
            key=lambda line: (list(settings).index(line[0]), order.get(line[1], len(order))),
        )
        costs = {(one.setting, one.method): one for one in spent} if place == 0 else {}
        paid = [name for name in COSTS if any(_cost(one, name) is not None for one in spent)]
        paid = paid if costs else []
        made.append(
            Glance(
                scoring,
                (
                    *((measure(name).title, _tasks(own, name)) for name in metrics),
                    *((measure(name).title, "") for name in paid),
                ),
                tuple(
                    GlanceLine(
                        method,
                        where,
                        (
                            *(_score(own, (scoring, where, method, name)) for name in metrics),
                            *(_paid(costs.get((settings[where], method)), name) for name in paid),
                        ),
                    )
                    for where, method in lines
                ),
                tuple(left_out.get(scoring, ())),
            )
        )
    return tuple(made)


def _where(row: Row, domains: Mapping[str, str]) -> str:
    domain = domains.get(row.task)
    return f"{row.setting}, {domain}" if domain else row.setting


def _tasks(found: Mapping[_Key, Sequence[float]], metric: str) -> str:
    counts = sorted({len(values) for key, values in found.items() if key[3] == metric})
    shown = DASH.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    return f"{shown} task{'s' * (counts[-1] != 1)}"


def _score(found: Mapping[_Key, Sequence[float]], key: _Key) -> Cell | None:
    if key not in found:
        return None
    mean = _mean(found[key])
    before = found.get((*key[:3], f"{key[3]}_before")) if key[3] == _BEFORE else None
    note = f"before {number(_mean(before))}" if before else ""
    return Cell(number(mean), note, min(1.0, max(0.0, mean)))


def _paid(one: Spent | None, name: str) -> Cell | None:
    value = _cost(one, name) if one else None
    return None if value is None else Cell(written(name, value))


def _cost(one: Spent, name: str) -> float | None:
    found = {
        "seconds_per_edit": one.seconds_per_edit,
        "tokens_added": one.tokens_added,
        "added_bytes": one.added_bytes,
    }
    return found[name]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
