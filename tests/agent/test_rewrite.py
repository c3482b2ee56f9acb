"""Questions rewritten by edits: what is replaced, what is asked of the model, and what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from memedit.agent import Ended, Endpoint, Source, Trace
from memedit.agent.rewrite import REWRITTEN, Rewrite
from memedit.errors import InvalidInputError, UpstreamError
from memedit.routing import run_sync
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.types import Edit, ScopeDecision
from tests.agent.scripted import Scripted
from tests.routing.tiny_memory import decided, edit, router

LEADS = edit("Ansa Dorn is the head of state of", "Quendoria", subject="Ansa Dorn", id="e-leads")
CAPITAL = edit("The capital of Quendoria is", "Lindhaven", subject="Quendoria", id="e-capital")
MAYOR = edit("The mayor of Lindhaven is", "Bea Lund", subject="Lindhaven", id="e-mayor")
COUNTRY = "The country that Ansa Dorn leads"
CLOZE = f"The anthem of {COUNTRY[0].lower()}{COUNTRY[1:]} is called"


class ByTable(ScopeClassifier):
    """Text and id of an edit -> direct and dependent; else nothing is asked."""

    threshold = 0.5

    def __init__(self, table: Mapping[tuple[str, str], tuple[float, float]]) -> None:
        self.table = table

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        return [
            [
                decided(one, *self.table.get((each.query.text, one.edit.id), (0.0, 0.0)))
                for one in each.candidates
            ]
            for each in inputs
        ]


def run(
    question: str,
    table: Mapping[tuple[str, str], tuple[float, float]],
    *edits: Edit,
    says: Sequence[str | UpstreamError] = (),
    most: int | None = None,
) -> tuple[Trace, Scripted]:
    said = Scripted(list(says))
    plan = Rewrite(max_hops=most).answer(question, Endpoint("scripted"))
    return run_sync(plan, router(*edits, classifier=ByTable(table)), said), said


def test_a_description_is_replaced_and_the_rest_is_the_models() -> None:
    table = {(CLOZE, "e-leads"): (0.1, 0.8), (f"{COUNTRY} is", "e-leads"): (0.9, 0.0)}
    trace, said = run(CLOZE, table, LEADS, says=[" The Long Morning.\nAnd more"])
    assert (trace.ended, trace.answer) == (Ended.FINAL_ANSWER, "The Long Morning")
    assert said.prompts == ["The anthem of Quendoria is called"]
    assert said.bodies[0]["stop"] == ["\n"]
    first, last = trace.hops
    assert (first.subquestion, first.edit, first.answer) == (
        f"{COUNTRY} is",
        "e-leads@1",
        "Quendoria",
    )
    assert (first.source, last.source, last.note) == (Source.EDIT, Source.MODEL, REWRITTEN)
    assert trace.edits == ("e-leads@1",) and trace.usage.calls == 1


def test_what_is_left_may_be_another_edits_or_described_by_one() -> None:
    question = "Who is the mayor of the capital of the country that Ansa Dorn leads?"
    second = "Who is the mayor of the capital of Quendoria?"
    third = "Who is the mayor of Lindhaven?"
    table = {
        (question, "e-leads"): (0.0, 0.9),
        (f"{COUNTRY} is", "e-leads"): (0.9, 0.0),
        (second, "e-capital"): (0.0, 0.9),
        ("The capital of Quendoria is", "e-capital"): (0.9, 0.0),
        (third, "e-mayor"): (0.9, 0.0),
    }
    trace, said = run(question, table, LEADS, CAPITAL, MAYOR)
    assert (trace.ended, trace.answer) == (Ended.FINAL_ANSWER, "Bea Lund")
    assert [hop.edit for hop in trace.hops] == ["e-leads@1", "e-capital@1", "e-mayor@1"]
    assert said.prompts == []
    asked, said = run(question, table, LEADS, CAPITAL, says=[" Ida"], most=1)
    assert said.prompts == [second] and "messages" in said.bodies[0]  # a question, in a chat
    assert asked.answer == "Ida"


def test_what_nothing_answers_is_left_alone() -> None:
    for table in (
        {},
        {(CLOZE, "e-leads"): (0.0, 0.9)},  # the description by itself is not this edit's
        {(f"{COUNTRY} is", "e-leads"): (0.9, 0.0)},  # the question does not lean on it
    ):
        trace, said = run(CLOZE, table, LEADS)
        assert (trace.ended, trace.answer, said.prompts) == (Ended.NO_NEXT_STEP, None, [])
        assert trace.error


def test_an_erased_fact_on_the_way_ends_the_question() -> None:
    erased = edit(
        "Ansa Dorn is the head of state of",
        "I cannot say.",
        subject="Ansa Dorn",
        id="e-leads",
        operation="erase",
        ground_truth="Quendoria",
    )
    table = {(CLOZE, "e-leads"): (0.1, 0.8), (f"{COUNTRY} is", "e-leads"): (0.9, 0.0)}
    trace, said = run(CLOZE, table, erased)
    assert (trace.ended, trace.answer, said.prompts) == (Ended.WITHHELD, "I cannot say.", [])


@pytest.mark.parametrize("said", ["", "  \n ", "I don't know."])
def test_a_model_that_does_not_know_gives_no_answer(said: str) -> None:
    table = {(CLOZE, "e-leads"): (0.1, 0.8), (f"{COUNTRY} is", "e-leads"): (0.9, 0.0)}
    trace, _ = run(CLOZE, table, LEADS, says=[said])
    assert (trace.ended, trace.answer) == (Ended.UNKNOWN_HOP, None)


def test_a_failing_endpoint_ends_the_question() -> None:
    table = {(CLOZE, "e-leads"): (0.1, 0.8), (f"{COUNTRY} is", "e-leads"): (0.9, 0.0)}
    trace, _ = run(CLOZE, table, LEADS, says=[UpstreamError("gone")])
    assert (trace.ended, trace.answer) == (Ended.ENDPOINT_FAILED, None)


def test_demonstrations_have_nothing_to_show() -> None:
    with pytest.raises(InvalidInputError, match="rewrite"):
        Rewrite(demonstrations="Question: ...")
