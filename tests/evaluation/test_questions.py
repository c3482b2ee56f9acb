"""What is asked of a case besides its own probes."""

from __future__ import annotations

from dataclasses import replace

from memedit.evaluation.cases import Metric, Probe
from memedit.evaluation.questions import GENERAL, Amounts, questions_of
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES


def test_far_questions_are_other_subjects_and_drawn_the_same_way_every_time() -> None:
    asked = questions_of(CASES, Amounts(general=2, fluent=3))
    assert asked == questions_of(CASES, Amounts(general=2, fluent=3))
    assert asked != questions_of(CASES, Amounts(general=2, fluent=3, seed=1))
    for one in asked:
        far = [question.probe for question in one.questions if question.metric == GENERAL]
        assert len(far) == 2
        assert not any(one.case.requests[0].subject in probe.prompt for probe in far)
    assert [one.fluent for one in asked] == [True, False, True, False, True, False]


def test_far_questions_name_no_subject_that_is_edited_where_there_are_such() -> None:
    far = ("The moon of Orvel's king is", "The sea is", "The sky over Tamsins is")
    cases = tuple(
        replace(
            case,
            probes=(
                *case.probes,
                Probe(Metric.LOCALITY, "Out_Of_Distribution", far[place % 3], ("so",)),
            ),
        )
        for place, case in enumerate(CASES)
    )
    asked = questions_of(cases[:2], Amounts(general=3), among=cases)
    drawn = {q.probe.prompt for one in asked for q in one.questions if q.metric == GENERAL}
    assert drawn == set(far[1:]), "Orvel is edited"
    other = replace(
        CASES[0], requests=(EditRequest(prompt="The sea", subject="sea", target_new="b"),)
    )
    asked = questions_of(cases[:2], Amounts(general=3), among=cases, edited=[other])
    drawn = {q.probe.prompt for one in asked for q in one.questions if q.metric == GENERAL}
    assert drawn == {far[2]}


def test_fluency_is_asked_of_every_task() -> None:
    tasks = ("a", "b", "c")
    cases = tuple(replace(case, task=tasks[n % 3]) for n, case in enumerate(CASES))
    asked = questions_of(cases, Amounts(general=0, fluent=3))
    assert [one.case.task for one in asked if one.fluent] == list(tasks)
