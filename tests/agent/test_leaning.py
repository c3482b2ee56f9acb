"""A hop whose words no edit answers, in a question that leans on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from memedit.agent import Ended, Endpoint, Source, Trace
from memedit.agent.pokemqa import OF_THE_QUESTION, Pokemqa
from memedit.routing import run_sync
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.types import Edit, ScopeDecision, ScopeLabel
from tests.agent.scripted import Scripted
from tests.routing.tiny_memory import decided, edit, router

QUESTION = "Which language is spoken in the country that Ansa Dorn leads?"
COUNTRY = "Which country is governed by Ansa Dorn?"
LANGUAGE = "Which language is spoken in Quendoria?"
LEADS = edit("Ansa Dorn is the head of state of", "Quendoria", subject="Ansa Dorn", id="e-leads")
OWN = (" Nobody.", "\nFinal answer: Nobody.")


class ByTheQuestion(ScopeClassifier):
    """Every question leans on every edit; of subquestions those by ``known`` are answered."""

    threshold = 0.5

    def __init__(self, known: str = "", otherwise: float = 0.3) -> None:
        self.known, self.otherwise = known, otherwise
        self.asked: list[str] = []

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        self.asked += [each.query.text for each in inputs]
        return [[self._judged(each, one) for one in each.candidates] for each in inputs]

    def _judged(self, asked: ScopeInput, candidate: object) -> ScopeDecision:
        text = asked.query.text
        named = replace(candidate, named=candidate.edit.request.subject in text)  # type: ignore[type-var, attr-defined]
        if text == QUESTION:
            return decided(named, 0.05, 0.9)
        return decided(named, 0.9 if text == self.known else self.otherwise)


def run(script: Sequence[str], classifier: ByTheQuestion, *edits: Edit) -> Trace:
    said = Scripted([" Ansa Dorn", *script])
    plan = Pokemqa().answer(QUESTION, Endpoint("scripted"))
    return run_sync(plan, router(*edits, classifier=classifier), said)


def test_the_edit_that_the_question_leans_on_answers_the_hop_about_its_subject() -> None:
    turns = (f"\nSubquestion: {COUNTRY}\n", f"\nSubquestion: {LANGUAGE}\n", *OWN)
    classifier = ByTheQuestion()
    trace = run(turns, classifier, LEADS)
    first, second = trace.hops
    assert (first.answer, first.source, first.edit) == ("Quendoria", Source.EDIT, "e-leads@1")
    assert (first.note, first.scope) == (OF_THE_QUESTION, ScopeLabel.DIRECT)
    assert first.candidates[0].probability < classifier.threshold  # as it was judged by itself
    # the second hop does not name the edit's subject
    assert (second.source, second.edit, second.note) == (Source.MODEL, None, None)
    assert classifier.asked.count(QUESTION) == 1


def test_an_edit_that_the_subquestion_finds_comes_first() -> None:
    spouse = edit(COUNTRY, "Marovia", subject="Ansa Dorn", id="e-found")
    classifier = ByTheQuestion(known=COUNTRY)
    trace = run((f"\nSubquestion: {COUNTRY}\n", "\nFinal answer: x."), classifier, spouse)
    assert (trace.hops[0].answer, trace.hops[0].note) == ("Marovia", None)
    assert QUESTION not in classifier.asked


def test_what_surely_is_not_asked_is_not_answered() -> None:
    turns = (f"\nSubquestion: {COUNTRY}\n", *OWN)
    [hop] = run(turns, ByTheQuestion(otherwise=0.02), LEADS).hops
    assert (hop.edit, hop.source) == (None, Source.MODEL)


def test_it_answers_once() -> None:
    again = "How old is Ansa Dorn?"
    turns = (f"\nSubquestion: {COUNTRY}\n", f"\nSubquestion: {again}\n", *OWN)
    first, second = run(turns, ByTheQuestion(), LEADS).hops
    assert first.edit == "e-leads@1" and (second.edit, second.source) == (None, Source.MODEL)


def test_of_several_that_which_is_nearest_to_the_subquestion() -> None:
    class Nearer(ByTheQuestion):
        def _judged(self, asked: ScopeInput, candidate: object) -> ScopeDecision:
            found = super()._judged(asked, candidate)
            near = found.candidate.edit.id == "e-leads" and asked.query.text != QUESTION
            return decided(found.candidate, 0.4) if near else found

    born = edit("Ansa Dorn was born in", "Velden", subject="Ansa Dorn", id="e-born")
    for edits in ((born, LEADS), (LEADS, born)):
        trace = run((f"\nSubquestion: {COUNTRY}\n", *OWN), Nearer(), *edits)
        assert trace.hops[0].edit == "e-leads@1"


@pytest.mark.parametrize("named", [True, False])
def test_an_erased_fact_is_withheld_where_its_subject_is_asked_about(named: bool) -> None:
    erased = edit(
        "Ansa Dorn is the head of state of",
        "I don't know",
        subject="Ansa Dorn",
        operation="erase",
        ground_truth="Quendoria",
    )
    asked = COUNTRY if named else "Which country is the largest?"
    trace = run((f"\nSubquestion: {asked}\n", *OWN), ByTheQuestion(), erased)
    assert (trace.ended is Ended.WITHHELD) is named
