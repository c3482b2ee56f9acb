"""Relations told by wordings, and which cases are analysed; on AtlasEdit against its own world."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from memedit.evaluation.analysis.chosen import chosen_cases, states_fact
from memedit.evaluation.analysis.facts import (
    CONSISTENCY,
    RELEVANCE,
    SAME_RELATION,
    SAME_SUBJECT,
    UNRELATED,
    facts_of,
    kin,
    related,
)
from memedit.evaluation.analysis.record import Located
from memedit.evaluation.analysis.relations import Relations, wording
from memedit.evaluation.cases import EditCase, Metric, Probe, Replies
from memedit.evaluation.datasets import load_dataset
from memedit.types import EditRequest, Operation


def case(
    name: str, prompt: str, subject: str, rephrase: str = "", relation: str = "", task: str = "t"
) -> EditCase:
    request = EditRequest(prompt=prompt, subject=subject, target_new="new")
    probes = (Probe(Metric.GENERALITY, "", rephrase, ("new",)),) if rephrase else ()
    return EditCase(name, task, (request,), probes, relation=relation)


def test_a_wording_is_a_prompt_without_its_subject() -> None:
    assert wording("Ann's  mother is", "Ann") == "{}'s mother is"
    assert wording("Anna lives in", "Ann") == "", "a part of a word is no subject"
    assert wording("The  Mayor of A+B is: ", "A+B") == "the mayor of {} is"


def test_rephrases_join_wordings_and_names_reach_them() -> None:
    cases = [
        case("a", "The capital of Q is", "Q", "Which city governs Q?"),
        case("b", "Which city governs R?", "R", "R is led from"),
        case("c", "S is led from", "S", relation="capital"),
        case("d", "The river of Q is", "Q"),
        case("e", "Where is T?", "T", relation="country"),
        case("f", "Where is U?", "U", relation="continent"),
        case("g", "Where is V?", "V"),
    ]
    known = Relations(cases)
    assert [known.of_edit(one) for one in cases] == [
        *("capital", "capital", "capital", "the river of {} is"),
        *("country", "continent", ""),
    ], "a wording of two relations tells neither"
    assert known.of("R is led from", "R") == "capital"
    assert known.of("The flag of R is", "R") == "", "a wording that no edit has"
    several = EditCase("m", "t", cases[0].requests + cases[3].requests, (), relation="both")
    assert [known.of_edit(several, n) for n in (0, 1)] == ["capital", "the river of {} is"]


def test_facts_are_no_opinions_erasures_or_passages() -> None:
    fact = case("a", "The capital of Q is", "Q")
    [request] = fact.requests
    opinion = EditCase("b", "t", (request,), (), Replies("What of Q?", ("good",), ("bad",)))
    erased = EditCase("c", "t", (request.model_copy(update={"operation": Operation.ERASE}),), ())
    told = EditCase("d", "t", (request.model_copy(update={"statement": "new"}),), ())
    unnamed = case("e", "The capital of it is", "Q")
    cases = [opinion, erased, told, unnamed, fact]
    assert [states_fact(one) for one in cases] == [False, False, False, False, True]
    assert chosen_cases(cases, 3) == [fact]
    assert chosen_cases(cases[:4], 3) == []


def test_what_is_chosen_is_spread_over_tasks_and_has_its_kin_beside_it() -> None:
    cases = [
        case(f"{task}{n}", f"The {'abcdefgh'[n % 8]} of S{n} is", f"S{n}", task=task)
        for task in ("one", "two", "three")
        for n in range(40)
    ]
    chosen = chosen_cases(cases, 13)
    assert Counter(one.task for one in chosen) == {"one": 5, "two": 4, "three": 4}
    assert chosen == chosen_cases(list(cases), 13), "the same each time"
    assert chosen == sorted(chosen, key=cases.index)
    known = Relations(cases)
    kinds = Counter(kin(a, b, known) for a, b in combinations(chosen[5:9], 2))
    assert kinds[SAME_RELATION] >= 2 and kinds[UNRELATED]
    assert chosen_cases(cases, 500) == cases
    again = [*cases[:8], case("x", "The z of S0 is", "S0", task="one")]
    assert [one.id for one in chosen_cases(again, 2)] == ["one0", "x"], "of the same subject"


@pytest.fixture(scope="module")
def atlasedit() -> tuple[EditCase, ...]:
    return load_dataset("atlasedit").cases


def test_relations_of_atlasedit_are_those_of_its_world(
    atlasedit: tuple[EditCase, ...], repository: Path
) -> None:
    """The phrases that the world was written with say which relation a prompt is of."""
    world = json.loads((repository / "examples/atlas/data/relations.json").read_text("utf-8"))
    phrases: dict[str, set[str]] = {}
    for relation, entry in world.items():
        for text in (*entry["statements"], *entry["questions"]):
            own = wording(text.split("{o}")[0].replace("{s}", "Subject"), "Subject")
            phrases.setdefault(own, set()).add(relation)
    known = Relations(atlasedit)
    facts = [one for one in atlasedit if states_fact(one) and len(one.requests) == 1]
    told = Counter(
        known.of_edit(one) in phrases[own]
        for one in facts
        if not one.relation  # those that MQuAKE's format names are no evidence
        if known.of_edit(one) in world
        and (own := wording(one.requests[0].prompt, one.requests[0].subject)) in phrases
    )
    assert told[True] > 800 and not told[False]
    assert sum(not known.of_edit(one) for one in facts) < 0.25 * len(facts)


def test_related_and_unrelated_groups_of_atlasedit_are_there(
    atlasedit: tuple[EditCase, ...],
) -> None:
    chosen = chosen_cases(load_dataset("atlasedit", limit=200).cases, 10, Relations(atlasedit))
    assert len(chosen) == 10 and all(map(states_fact, chosen))
    tasks = Counter(one.task for one in chosen)
    assert set(tasks) == {"multihop", "wiki_counterfact", "wiki_recent", "zsre"}
    assert max(tasks.values()) - min(tasks.values()) <= 1
    facts = facts_of(chosen, Relations(atlasedit))
    traced = [
        Located(one.case, one.role, one.prompt, one.subject, one.relation, "", 1.0, 0.0, {})
        for one in facts
    ]
    groups = related(traced)
    assert set(groups) == {CONSISTENCY, RELEVANCE, SAME_SUBJECT, SAME_RELATION, UNRELATED}
    assert all(groups.values())
    for a, b in groups[SAME_RELATION]:
        assert traced[a].relation == traced[b].relation and traced[a].subject != traced[b].subject
    for a, b in groups[SAME_SUBJECT]:
        assert traced[a].subject == traced[b].subject and traced[a].prompt != traced[b].prompt
    known = Relations(atlasedit)
    pairs = Counter(kin(a, b, known) for a, b in combinations(chosen, 2))
    assert pairs[SAME_RELATION] and pairs[UNRELATED], "columns of edits are compared too"
