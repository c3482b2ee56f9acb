"""From scored probes to rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from memedit.evaluation.rows import Row, Scored, Scoring, rows

ONE = Scored(
    method="ice",
    setting="single",
    task="zsre",
    case="zsre_test[0]",
    metric="edit_success",
    kind="",
    scoring=Scoring.GENERATED,
    prompt="The capital of France is",
    expected=("Lyon", "City of Lyon"),
    said="Lyon.",
    base_said="Paris.",
    score=1.0,
    verdict="right",
)


def scored(case: int, score: float, **changes: object) -> Scored:
    return replace(ONE, case=f"zsre_test[{case}]", score=score, **changes)  # type: ignore[arg-type]


def by_name(found: list[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row.scoring, row.metric, row.kind): row for row in found}


def test_a_record_survives_a_line_of_json() -> None:
    one = replace(ONE, also={"contains": 1.0}, age=7)
    assert Scored.of_record(json.loads(json.dumps(one.as_record()))) == one


def test_a_row_is_the_mean_over_cases_of_their_means() -> None:
    probes = [scored(0, 1.0), scored(0, 0.0), scored(0, 0.0), scored(0, 0.0), scored(1, 1.0)]
    (row,) = rows(probes)
    assert (row.value, row.n, row.cases) == (0.625, 5, 2)  # (1/4 + 1) / 2, not 2 of 5
    assert row.low == 0.25
    assert row.high == 1
    assert set(row.as_record()) >= {
        *("method", "task", "setting", "metric", "kind", "scoring"),
        *("value", "low", "high", "n"),
    }
    json.dumps(row.as_record())


def test_kinds_have_rows_after_the_row_over_all() -> None:
    probes = [
        scored(0, 1.0, metric="locality", kind="Forgetfulness"),
        scored(0, 0.0, metric="locality", kind="Relation_Specificity"),
        scored(1, 1.0, metric="locality", kind="Forgetfulness"),
        scored(1, 1.0),
    ]
    found = rows(probes)
    assert [(row.metric, row.kind, row.value) for row in found] == [
        ("locality", "", 0.75),
        ("locality", "Forgetfulness", 1.0),
        ("locality", "Relation_Specificity", 0.0),
        ("edit_success", "", 1.0),
    ]


def test_no_interval_is_without_width() -> None:
    (one,) = rows([scored(0, 1.0)])
    assert (one.value, one.low, one.high, one.cases) == (1, None, None, 1)
    (right,) = rows([scored(case, 1.0) for case in range(3)])
    assert right.low == pytest.approx(0.438503, abs=1e-6) and right.high == 1
    fluent = {"metric": "fluency", "also": {"before": 1.0}}
    text = by_name(rows([scored(case, 5.0, **fluent) for case in range(3)]))
    assert {(row.low, row.high) for row in text.values()} == {(None, None)}
    cost = {"metric": "tokens_added", "scoring": None}
    (none,) = rows([scored(case, 0.0, **cost) for case in range(3)])
    assert (none.value, none.low, none.high) == (0, None, None)


def test_nothing_is_mixed() -> None:
    probes = [
        scored(0, 1.0),
        scored(0, 0.0, scoring=Scoring.TEACHER_FORCED),
        scored(0, 0.25, method="none"),
        scored(0, 0.5, task="wiki_recent"),
        scored(0, 0.75, setting="batch"),
    ]
    assert sorted(row.value for row in rows(probes)) == [0, 0.25, 0.5, 0.75, 1]


def test_other_scores_have_rows_of_their_own() -> None:
    probes = [scored(0, 0.0, also={"contains": 1.0}), scored(1, 0.0, also={"contains": 0.0})]
    found = by_name(rows(probes))
    assert found["generated", "edit_success", ""].value == 0
    assert found["generated", "edit_success_contains", ""].value == 0.5


def test_one_question_out_of_several_is_counted_apart() -> None:
    hops = {"metric": "multihop", "kind": "2 hops"}
    probes = [scored(0, score, **hops) for score in (0.0, 1.0, 0.0)]
    probes += [scored(1, 0.0, **hops) for _ in range(3)]
    found = by_name(rows(probes))
    assert found["generated", "multihop", "2 hops"].value == pytest.approx(1 / 6)
    assert found["generated", "multihop_any", "2 hops"].value == pytest.approx(1 / 2)
    assert found["generated", "multihop_any", ""].n == 2
    alone = rows([scored(0, 1.0, **hops)])
    assert {row.metric for row in alone} == {"multihop"}


def test_an_interval_does_not_depend_on_the_other_rows() -> None:
    probes = [scored(case, float(case % 3 == 0)) for case in range(30)]
    (alone,) = rows(probes, seed=4)
    others = [scored(case, 0.5, metric="fluency") for case in range(9)]
    assert by_name(rows(others + probes, seed=4))["generated", "edit_success", ""] == alone
    assert alone.low < alone.value < alone.high
    assert rows(probes, seed=4) == [alone]


def test_no_probes_make_no_rows() -> None:
    assert rows([]) == []
