"""What went wrong and how: the survey's classes of error, counted, with examples.

Source: survey, section 4.5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from memedit.evaluation.report.labels import VERDICTS, metric_order
from memedit.evaluation.rows import Scored


@dataclass(frozen=True, slots=True)
class Mistakes:
    """One method's failures on one metric, from generated answers."""

    method: str
    setting: str
    metric: str
    asked: int
    counts: tuple[tuple[str, int], ...]
    """(class, how many), the most frequent first."""
    examples: tuple[tuple[str, tuple[Scored, ...]], ...]
    """(class, some of them), in the order of `counts`."""
    task: str = ""
    """`""`: over all tasks."""

    @property
    def failed(self) -> int:
        """How many of those asked failed."""
        return sum(count for _, count in self.counts)


def mistakes_by_task(
    scored: Iterable[Scored], methods: Sequence[str]
) -> list[tuple[str, list[Mistakes]]]:
    """Count failures by class in each task, without examples; nothing where there is one task."""
    by_task: dict[str, list[Scored]] = {}
    for one in scored:
        by_task.setdefault(one.task, []).append(one)
    found = [
        (task, [replace(one, task=task) for one in mistakes(own, methods, show=0)])
        for task, own in by_task.items()
    ]
    found = [(task, counted) for task, counted in found if counted]
    return found if len(found) > 1 else []


def mistakes(scored: Iterable[Scored], methods: Sequence[str], show: int = 3) -> list[Mistakes]:
    """Count failures by class, over all tasks.

    A probe failed when its generated score is under 1; what was judged is `said` against what is
    expected, and for locality against what the unedited model said. Examples are of different
    cases, the first ones found: they are not chosen.

    Args:
        scored: every scored probe of a run.
        methods: in the order in which they are to come.
        show: how many examples to keep per class.

    """
    asked: Counter[tuple[str, str, str]] = Counter()
    failed: dict[tuple[str, str, str], dict[str, list[Scored]]] = {}
    for one in scored:
        if one.scoring != "generated" or not one.verdict:
            continue  # fluency and the like, where nothing is right or wrong
        key = (one.setting, one.metric, one.method)
        asked[key] += 1
        if one.score < 1.0:
            failed.setdefault(key, {}).setdefault(class_of(one), []).append(one)
    settings = list(dict.fromkeys(key[0] for key in asked))
    order = {method: place for place, method in enumerate(methods)}
    keys = sorted(
        asked, key=lambda k: (settings.index(k[0]), metric_order(k[1]), order.get(k[2], 99), k[2])
    )
    return [_counted(*key, asked[key], failed.get(key, {}), show) for key in keys]


def class_of(one: Scored) -> str:
    """Return the class of a failed probe."""
    return one.verdict if one.verdict and one.verdict != "right" else "not judged"


def _counted(
    setting: str, metric: str, method: str, asked: int, by: dict[str, list[Scored]], show: int
) -> Mistakes:
    known = list(VERDICTS)
    order = sorted(by, key=lambda c: (-len(by[c]), known.index(c) if c in known else 99, c))
    return Mistakes(
        method=method,
        setting=setting,
        metric=metric,
        asked=asked,
        counts=tuple((name, len(by[name])) for name in order),
        examples=tuple((name, _some(by[name], show)) for name in order),
    )


def _some(found: list[Scored], show: int) -> tuple[Scored, ...]:
    by_case: dict[str, Scored] = {}
    for one in found:
        by_case.setdefault(one.case, one)
    return tuple(by_case.values())[:show]


def classes(found: Iterable[Mistakes]) -> tuple[str, ...]:
    """Return every class that occurs, the survey's own first."""
    there = {name for one in found for name, _ in one.counts}
    return tuple(name for name in VERDICTS if name in there) + tuple(
        sorted(name for name in there if name not in VERDICTS)
    )
