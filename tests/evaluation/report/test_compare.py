"""When two runs' numbers differ by more than chance."""

from dataclasses import replace
from pathlib import Path

import pytest

from memedit.evaluation.bootstrap import wilson
from memedit.evaluation.report.compare import Difference, compared
from memedit.evaluation.report.markdown import markdown
from memedit.evaluation.report.run import Run
from memedit.evaluation.report.view import view
from memedit.evaluation.rows import Row


def row(value: float, half: float | None, cases: int) -> Row:
    low, high = (None, None) if half is None else (value - half, value + half)
    kept = (value, low, high, cases, cases)
    return Row("ice", "zsre", "single", "edit_success", "", "generated", *kept)


@pytest.mark.parametrize(
    ("now", "earlier", "apart"),
    [
        (row(0.9, 0.05, 20), row(0.5, 0.05, 20), True),
        (row(0.9, 0.05, 20), row(0.85, 0.05, 20), False),
        (row(0.9, None, 20), row(0.5, 0.05, 20), None),
        # an older run's three cases that were all alike
        (row(0.9, 0.05, 20), row(0.5, 0.0, 3), None),
        # one case drawn again is always the same case
        (row(1.0, 0.0, 1), row(0.0, 0.0, 1), None),
        (row(1.0, 0.0, 20), row(0.0, 0.0, 1), None),
    ],
)
def test_only_intervals_of_several_cases_tell_chance(
    now: Row, earlier: Row, apart: bool | None
) -> None:
    assert Difference(now, earlier).apart is apart


def shares(right: int, cases: int) -> Row:
    """Make a row of cases that are right or wrong, with Wilson's interval."""
    low, high = wilson(right, cases)
    return replace(row(right / cases, None, cases), low=low, high=high)


@pytest.mark.parametrize(
    ("now", "earlier", "apart"),
    [
        (row(0.9, 0.05, 4), row(0.5, 0.05, 2), None),
        (row(0.9, 0.05, 20), row(0.5, 0.05, 9), None),
        (row(0.9, 0.05, 10), row(0.5, 0.05, 10), True),
        # too narrow as it is, it overlaps all the same
        (row(0.9, 0.05, 4), row(0.85, 0.05, 2), False),
        (shares(4, 4), shares(0, 4), True),
        (shares(4, 4), shares(2, 4), False),
        (shares(4, 4), row(0.1, 0.05, 4), None),
        # an older run that does not count its cases
        (row(0.9, 0.05, 20), replace(row(0.5, 0.05, 20), cases=0), None),
    ],
)
def test_a_bootstrap_of_few_cases_tells_nothing_apart(
    now: Row, earlier: Row, apart: bool | None
) -> None:
    assert Difference(now, earlier).apart is apart


@pytest.mark.parametrize("metric", ["seconds_per_edit", "added_bytes", "tokens_added"])
def test_time_and_memory_never_differ_by_more_than_chance(metric: str) -> None:
    """Another load of the machine moves all cases alike; tokens are the prompt's own."""
    cost = {"metric": metric, "scoring": None}
    now, earlier = (replace(row(value, 0.1, 50), **cost) for value in (9.0, 1.0))
    found = compared(of(now), of(earlier))
    if metric == "tokens_added":
        assert [one.now.metric for one in found.apart] == [metric]
        return
    assert not found.apart and [one.now.metric for one in found.of_the_machine] == [metric]
    assert "1 are time or memory, which depends on the machine and what else it ran" in found.says
    text = markdown(view(of(now), of(earlier))).partition("## Compared")[2]
    assert "1 rows of time and memory: it depends on the machine" in text
    assert "(\\*)" not in text


def test_rows_of_one_run_alone_are_counted_in_the_markdown() -> None:
    """Listed, they would be most of the text: rows.json has them."""
    both = row(0.9, 0.05, 20)
    more = [
        replace(both, method=method, task=task, metric=metric)
        for method in ("ft-m", "rome")
        for task in ("zsre", "wiki_recent")
        for metric in ("edit_success", "generality", "locality")
    ]
    cost = replace(more[0], task="", metric="added_bytes", scoring=None)
    text = markdown(view(of(both, *more, cost), of(both, folder="then")))
    said = text.partition("## Compared")[2].partition("\n## ")[0]
    assert "13 rows only in this run; they are in `rows.json`" in said
    assert "- **ft-m**, single: 7 (zsre 3, wiki\\_recent 3, over all tasks 1)" in said
    assert "- **rome**, single: 6 (zsre 3, wiki\\_recent 3)" in said
    assert "only in the earlier run" not in said
    text = markdown(view(of(both), of(both, *more, folder="then")))
    assert "12 rows only in the earlier run; they are in `then/rows.json`" in text


def of(*rows: Row, folder: str = "run") -> Run:
    same = {"dataset": {"fingerprint": "d"}, "model": {"fingerprint": "m"}}
    return Run(Path(folder), same, rows, (), (), (), ())
