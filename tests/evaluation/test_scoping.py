"""Counting which edits fire: against hand-made judgements."""

import numpy as np
import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.evaluation.scope_numbers import auroc, calibration_error, chosen_threshold
from memedit.evaluation.scoping import Judged, ScopeRow, measure_scope, recall_curves, scope_probes
from memedit.types import EditRequest


def case(name: str, subject: str, *probes: Probe) -> EditCase:
    edit = EditRequest(
        prompt=f"The capital of {subject} is",
        subject=subject,
        target_new="Ansa",
        ground_truth="Lume",
    )
    return EditCase(name, "toy", (edit,), probes)


def asked(metric: Metric, kind: str, text: str, *answers: str) -> Probe:
    return Probe(metric, kind, text, answers)


CASES = (
    case(
        "toy[0]",
        "Arda",
        asked(Metric.EDIT_SUCCESS, "", "The capital of Arda is", "Ansa"),
        asked(Metric.GENERALITY, "rephrase", "Arda's capital?", "Ansa"),
        asked(Metric.PORTABILITY, "Reasoning", "Who leads the capital of Arda?", "Ina"),
        asked(Metric.LOCALITY, "Relation_Specificity", "The anthem of Arda is", "Song"),
        asked(Metric.LOCALITY, "Relation_Specificity", "The capitals of Arda are", "?"),
        asked(Metric.LOCALITY, "Relation_Specificity", "The seat of Arda is", "Lume"),
    ),
    case("toy[1]", "Bree", asked(Metric.GENERALITY, "rephrase", "Bree's capital?", "Ansa")),
    case("toy[2]", "arda"),
)

SAID = {
    "Arda's capital?": [Judged(0, 0.9, 0.0), Judged(1, 0.2, 0.0)],
    "Bree's capital?": [Judged(0, 0.8, 0.0), Judged(1, 0.7, 0.0)],
    "Who leads the capital of Arda?": [Judged(1, 0.7, 0.0), Judged(0, 0.0, 0.6)],
    "The anthem of Arda is": [Judged(0, 0.3, 0.1)],
    "The capitals of Arda are": [Judged(0, 0.9, 0.0)],
    "The seat of Arda is": [],
}


def test_probes_know_their_edits_and_which_of_them_may_ask_one() -> None:
    edits, probes = scope_probes(CASES)
    assert len(edits) == 3
    by_text = {probe.text: probe for probe in probes}
    assert by_text["Arda's capital?"].own == {0, 2}  # the same fact twice
    assert by_text["Bree's capital?"].own == {1}
    assert "The capital of Arda is" not in by_text
    faulty = {probe.text for probe in probes if probe.faulty}
    assert faulty == {"The capitals of Arda are", "The seat of Arda is"}
    assert by_text["The anthem of Arda is"].own == frozenset()


@pytest.mark.parametrize(("old", "own"), [("Lume", {0, 1}), ("Wend", {0}), (None, {0})])
def test_a_fact_that_is_edited_twice_to_other_targets_is_one_fact_by_its_old_answer(
    old: str | None, own: set[int]
) -> None:
    again = EditRequest(
        prompt="From where is Arda ruled?", subject="Arda", target_new="Soma", ground_truth=old
    )
    _, probes = scope_probes((CASES[0], EditCase("toy[9]", "toy", (again,), ())))
    assert {probe.own for probe in probes if probe.text == "Arda's capital?"} == {frozenset(own)}


def test_a_far_prompt_that_asks_what_another_case_edits_is_faulty() -> None:
    far = (
        asked(Metric.LOCALITY, "Out_Of_Distribution", "What is the capital of Bree?", "Obu"),
        asked(Metric.LOCALITY, "Out_Of_Distribution", "Who sang for Bree?", "Ina"),
    )
    _, probes = scope_probes([case("toy[0]", "Arda", *far), case("toy[1]", "Bree")])
    assert [probe.faulty for probe in probes] == [True, False]


def test_rows_count_what_was_judged() -> None:
    _, probes = scope_probes(CASES)
    rows = measure_scope(probes, lambda texts: [SAID[text] for text in texts], edits=3, shipped=0.5)
    found = {(row.kind, row.cleaned): row for row in rows if row.threshold_from == "shipped"}
    rephrase = found["rephrase", False]
    assert (rephrase.n, rephrase.recall, rephrase.own_edit) == (2, 0.5, 0.5)
    assert rephrase.auroc == 1.0
    assert found["Reasoning", False].recall == 1.0  # second, but applied as dependent
    assert found["Reasoning", False].own_edit == 0.0
    # the paraphrase is answered by its edit, the other question through it
    assert rephrase.right_label == found["Reasoning", False].right_label == 1.0
    assert found["Relation_Specificity", False].right_label is None
    turned = {text: [Judged(one.edit, one.dependent, one.direct) for one in said]
              for text, said in SAID.items()}  # fmt: skip
    rows = measure_scope(probes, lambda texts: [turned[one] for one in texts], edits=3, shipped=0.5)
    assert [row.right_label for row in rows if row.kind == "rephrase"] == [0.0, 0.0]
    assert found["Relation_Specificity", False].false_alarms == pytest.approx(1 / 3)
    assert found["Relation_Specificity", True].false_alarms == 0.0
    assert found["Relation_Specificity", True].n == 1
    [chosen] = {row.threshold for row in rows if row.threshold_from == "file"}
    assert chosen == pytest.approx(0.4)
    assert all(row.edits_in_memory == 3 for row in rows)
    # the most probable edit is the own one of Arda's capital only; 0.4 is said of the anthem's
    assert rephrase.calibration_error == pytest.approx((0.1 + 0.8 + 0.4) / 3)
    assert found["Reasoning", False].calibration_error == pytest.approx((0.7 + 0.4) / 2)
    assert found["Relation_Specificity", True].calibration_error == pytest.approx(0.4)


def test_a_threshold_is_chosen_for_every_share_of_false_alarms() -> None:
    further = asked(Metric.LOCALITY, "Relation_Specificity", "The anthem of Cree is", "Hymn")
    _, probes = scope_probes([*CASES, case("toy[3]", "Cree", further)])
    said = SAID | {
        "The anthem of Arda is": [Judged(0, 0.85, 0.0)],
        "The anthem of Cree is": [Judged(3, 0.3, 0.0)],
    }

    def rows(*rates: float) -> list[ScopeRow]:
        return measure_scope(
            probes, lambda texts: [said[one] for one in texts], edits=4, shipped=0.5,
            false_alarms=rates,
        )  # fmt: skip

    found = rows(0.0, 0.5)
    assert [row.accepted for row in found] == [0.0] * 4 + [0.5] * 4 + [None] * 4
    assert found == rows(0.0)[:4] + rows(0.5)
    strict, lax, shipped = (row for row in found if row.kind == "Reasoning")
    assert (strict.threshold, lax.threshold) == pytest.approx((0.85, 0.3))
    assert (strict.recall, lax.recall, shipped.recall) == (0.0, 1.0, 1.0)
    alarms = [row.false_alarms for row in found if row.false_alarms is not None and row.cleaned]
    assert alarms == [0.0, 0.5, 0.5]


def test_curves_are_the_recall_of_the_rows_at_every_threshold() -> None:
    _, probes = scope_probes(CASES)
    judged = [SAID[probe.text] for probe in probes]
    curves = recall_curves(probes, judged)
    assert list(curves) == ["rephrase", "Reasoning"]
    # the wrong edit is before the right one of Bree, whatever the threshold
    assert curves["rephrase"] == [(0.0, 0.0), (0.0, 0.5), (1.0, 0.5)]
    assert curves["Reasoning"] == [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    for kind, points in curves.items():
        for threshold in (0.05, 0.35, 0.4, 0.65, 0.85, 0.95):
            rows = measure_scope(probes, lambda texts: judged, edits=3, shipped=threshold)
            at = {(row.kind, row.cleaned): row for row in rows if row.threshold_from == "shipped"}
            alarms = at["Relation_Specificity", True].false_alarms
            assert (alarms, at[kind, False].recall) in points
    with pytest.raises(InvalidInputError, match="unrelated"):
        recall_curves(probes[:2], judged[:2])


def test_without_unrelated_prompts_no_threshold_is_chosen() -> None:
    _, probes = scope_probes([CASES[1]])
    with pytest.raises(InvalidInputError, match="unrelated"):
        measure_scope(probes, lambda texts: [[] for _ in texts], edits=1, shipped=0.5)
    with pytest.raises(InvalidInputError, match="no probes"):
        measure_scope([], lambda texts: [], edits=1, shipped=0.5)


def test_the_chosen_threshold_lets_no_more_through_than_allowed() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.9])
    for rate, fired in ((0.0, 0), (0.25, 1), (0.5, 1), (0.75, 3)):
        assert int((scores >= chosen_threshold(scores, rate)).sum()) == fired
    with pytest.raises(InvalidInputError, match="false alarms"):
        chosen_threshold(scores, 1.0)


def test_auroc_against_every_pair() -> None:
    rng = np.random.default_rng(3)
    ups, downs = rng.integers(0, 6, 30) / 5, rng.integers(0, 4, 40) / 5
    every = [(u > d) + (u == d) / 2 for u in ups for d in downs]
    assert auroc(ups, downs) == pytest.approx(float(np.mean(every)))
    assert auroc(ups, np.array([])) is None


def test_calibration_error_is_the_gap_within_bins() -> None:
    sure = np.full(20, 0.95)
    assert calibration_error(sure, np.array([True] * 19 + [False])) == pytest.approx(0)
    assert calibration_error(sure, np.zeros(20, bool)) == pytest.approx(0.95)
    # in one bin gaps make up for each other, between bins they do not
    assert calibration_error(np.array([0.5, 0.55]), np.array([True, False])) == pytest.approx(0.025)
    assert calibration_error(np.array([0.4, 1.0]), np.array([True, False])) == pytest.approx(0.8)
