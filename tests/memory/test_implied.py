"""Edits that contradict an inverse, or a chain of edits: whichever of them is written last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest

from memedit.errors import ConflictError
from memedit.memory import EditMemory, NewEdit
from memedit.memory.conflicts import ConflictPolicy
from memedit.memory.relations import phrases, relation_of, turned
from memedit.types import Candidate, Conflict, ConflictKind, ConflictOutcome, EditRequest, Operation
from tests.memory.hashing_encoder import HashingEncoder

MIDDLE = datetime(2027, 1, 1, tzinfo=UTC)


def fact(prompt: str, target: str, subject: str = "Quendoria") -> EditRequest:
    return EditRequest(prompt=prompt, subject=subject, target_new=target)


CAPITAL = fact("The capital of Quendoria is", "Lindhaven")
TURNED = fact("The country whose capital is Lindhaven is", "Marovia", "Lindhaven")
HEAD = fact("The head of state of Quendoria is", "Ansa Veld")
HOME = fact("The home town of Ansa Veld is", "Tromm", "Ansa Veld")
COMPOSED = fact("The home town of the head of state of Quendoria is", "Dorn")
RIVER = fact("The river through Tromm is", "Elda", "Tromm")
LONGER = fact("The river through the home town of the head of state of Quendoria is", "Oss")


def implied(conflicts: Sequence[Conflict]) -> list[Conflict]:
    kinds = (ConflictKind.INVERSE, ConflictKind.CHAIN)
    return [one for one in conflicts if one.kind in kinds]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", list(permutations((CAPITAL, TURNED))))
def test_an_inverse_is_found_in_either_order(
    scratch: EditMemory, order: Sequence[EditRequest], together: bool
) -> None:
    if together:
        added = scratch.add(order)
        old, new = added
    else:
        [old] = scratch.add(order[:1])
        [new] = added = scratch.add(order[1:])
    [said] = added.conflicts
    assert (said.edit, said.against, said.through) == (new.ref, old.ref, ())
    assert said.kind is ConflictKind.INVERSE and said.probability is None
    assert said.outcome is ConflictOutcome.KEPT


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", list(permutations((HEAD, HOME, COMPOSED))))
def test_a_chain_is_found_whichever_link_comes_last(
    scratch: EditMemory, order: Sequence[EditRequest], together: bool
) -> None:
    if together:
        added = scratch.add(order)
        edits = list(added)
    else:
        edits = list(scratch.add(order[:2]))
        added = scratch.add(order[2:])
        edits += added
    [said] = added.conflicts
    assert said.kind is ConflictKind.CHAIN and said.probability is None
    assert said.edit == edits[2].ref
    assert {said.against, *said.through} == {edits[0].ref, edits[1].ref}
    composed = edits[order.index(COMPOSED)]
    assert composed.ref in (said.edit, said.against)


@pytest.mark.parametrize("order", list(permutations((HEAD, HOME, RIVER, LONGER))))
def test_chains_of_three_edits_are_found_too(
    scratch: EditMemory, order: Sequence[EditRequest]
) -> None:
    scratch.add(order[:3])
    [said] = implied(scratch.add(order[3:]).conflicts)
    assert said.kind is ConflictKind.CHAIN and len(said.through) == 2


@pytest.mark.parametrize(
    "new",
    [
        fact("The country whose capital is Lindhaven is", "Quendoria", "Lindhaven"),
        fact("Lindhaven is the capital of", "the Republic of Quendoria", "Lindhaven"),
        fact("The country whose largest city is Lindhaven is", "Marovia", "Lindhaven"),
        fact("The city whose mayor is Lindhaven is", "Marovia", "Lindhaven"),
        fact("The home town of the head of state of Quendoria is", "Tromm"),
        fact("The home town of the head of state of Quendoria is", "Tromm, Marovia"),
        fact("The home town of the treasurer of Quendoria is", "Dorn"),
        fact("The birth year of the head of state of Quendoria is", "1950"),
        fact("The home town of the head of state of Marovia is", "Dorn", "Marovia"),
    ],
)
def test_what_agrees_or_is_about_something_else_is_no_conflict(
    scratch: EditMemory, new: EditRequest
) -> None:
    scratch.add([CAPITAL, HEAD, HOME])
    assert scratch.add([new]).conflicts == ()


def test_neither_are_other_times_other_namespaces_or_erasures(scratch: EditMemory) -> None:
    scratch.add([CAPITAL, HEAD], valid_to=MIDDLE)
    scratch.add([HOME])
    assert scratch.add([TURNED, COMPOSED], valid_from=MIDDLE).conflicts == ()
    assert scratch.add([TURNED, COMPOSED], namespace="other").conflicts == ()
    silent = {"operation": Operation.ERASE, "target_new": "I don't know."}
    erased = [one.model_copy(update=silent) for one in (TURNED, COMPOSED)]
    assert implied(scratch.add(erased).conflicts) == []


def test_what_is_no_longer_live_implies_nothing(scratch: EditMemory) -> None:
    capital, head, _ = scratch.add([CAPITAL, HEAD, HOME])
    scratch.retract(capital.id)
    scratch.supersede(head.id, HEAD.model_copy(update={"target_new": "Ivo Marn"}))
    assert scratch.add([TURNED, COMPOSED]).conflicts == ()


def test_edits_of_an_earlier_process_are_read_piece_by_piece(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.memory.mirror._READ_AT_ONCE", 1)
    with EditMemory.open(sqlite_url, HashingEncoder()) as memory:
        memory.add([CAPITAL, HEAD, HOME])
    with (
        EditMemory.open(sqlite_url, HashingEncoder()) as one,
        EditMemory.open(sqlite_url, HashingEncoder()) as other,
    ):
        [said] = one.add([COMPOSED]).conflicts
        assert said.kind is ConflictKind.CHAIN
        one.retract(said.against.split("@")[0])
        [said] = other.add([TURNED]).conflicts
        assert said.kind is ConflictKind.INVERSE
        assert implied(other.add([COMPOSED]).conflicts) == []


def test_marriage_is_its_own_inverse(scratch: EditMemory) -> None:
    scratch.add([fact("Ansa Veld is married to", "Ivo Marn", "Ansa Veld")])
    agrees = fact("The spouse of Ivo Marn is", "Ansa Veld", "Ivo Marn")
    assert scratch.add([agrees]).conflicts == ()
    [said] = scratch.add([fact("Ivo Marn's wife is", "Una Lind", "Ivo Marn")]).conflicts
    assert said.kind is ConflictKind.INVERSE


def test_nothing_goes_under_supersede_and_nothing_is_stored_under_reject(
    memory: EditMemory,
) -> None:
    memory.add([CAPITAL, HEAD, HOME])
    with pytest.raises(ConflictError, match=r"contradicts e-\S+@1 \(inverse\)"):
        memory.add([TURNED], on_conflict="reject")
    with pytest.raises(ConflictError, match=r"contradicts e-\S+@1 \(chain\), by e-\S+@1"):
        memory.add([COMPOSED], on_conflict="reject")
    assert memory.namespaces() == {"default": 3}
    added = memory.add([TURNED, COMPOSED], on_conflict="supersede")
    assert [one.version for one in added] == [1, 1]
    assert {one.outcome for one in added.conflicts} == {ConflictOutcome.KEPT}
    assert memory.namespaces() == {"default": 5}
    assert memory.verify().ok


def test_an_edit_that_goes_in_the_same_call_implies_nothing_more(scratch: EditMemory) -> None:
    scratch.add([HEAD, HOME])
    moved = HOME.model_copy(update={"target_new": "Dorn"})
    added = scratch.add([moved, COMPOSED], on_conflict="supersede")
    assert [one.kind for one in added.conflicts] == [ConflictKind.SAME_PROMPT]


def test_a_repeated_import_says_nothing_twice(scratch: EditMemory) -> None:
    batch = [NewEdit(one) for one in (HEAD, HOME, COMPOSED)]
    assert len(scratch.add_edits(batch, on_duplicate="return").conflicts) == 1
    assert scratch.add_edits(batch, on_duplicate="return").conflicts == ()


def test_other_wordings_are_judged_together_and_told_as_guesses(tmp_path: Path) -> None:
    answers = {
        ("The head of state of Quendoria is", "Quendoria is led by"): 0.8,
        ("The home town of Ansa Veld is", "Ansa Veld lives in"): 0.5,
        ("The capital of Quendoria is", "Quendoria is governed from"): 0.9,
    }
    calls: list[int] = []

    def judge(pairs: Sequence[tuple[str, Candidate]]) -> list[float | None]:
        calls.append(len(pairs))
        return [answers.get((text, one.edit.request.prompt)) for text, one in pairs]

    url = f"sqlite:///{tmp_path}/edits.db"
    policy = ConflictPolicy(judge=judge)
    with EditMemory.open(url, HashingEncoder(), conflicts=policy) as memory:
        led = fact("Quendoria is led by", "Ansa Veld")
        governed = fact("Quendoria is governed from", "Lindhaven")
        memory.add([led, fact("Ansa Veld lives in", "Tromm", "Ansa Veld"), governed])
        calls.clear()
        said = implied(memory.add([COMPOSED, TURNED]).conflicts)
        assert {one.kind: one.probability for one in said} == {
            ConflictKind.CHAIN: pytest.approx(0.4),
            ConflictKind.INVERSE: pytest.approx(0.9),
        }
        assert len(calls) <= 5  # however many edits are written together
    with EditMemory.open(url, HashingEncoder()) as memory:  # without a judge only what is certain
        assert implied(memory.add([COMPOSED, TURNED], namespace="other").conflicts) == []


def test_what_leads_to_no_contradiction_is_not_judged(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def judge(pairs: Sequence[tuple[str, Candidate]]) -> list[float | None]:
        # what is about one subject is judged by the new prompt itself, and is not meant here
        asked.extend((text, one.edit.request.prompt) for text, one in pairs if text not in news)
        return [None] * len(pairs)

    led = fact("Quendoria is led by", "Ansa Veld")
    before = [
        led,
        fact("Quendoria is governed from", "Lindhaven"),  # nothing is known of Lindhaven
        fact("The anthem of Quendoria is called", "Ansa Veld"),  # the name, but who is meant?
        fact("Marovia is led by", "Dren Oll", "Marovia"),
        fact("Dren Oll lives in", "Kessel", "Dren Oll"),
    ]
    born = fact("Ansa Veld was born in", "Pell", "Ansa Veld")
    house = fact("Ansa Veld has the house in", "Dorn", "Ansa Veld")  # what the composed one says
    river = fact("The river through Kessel is", "Elda", "Kessel")
    news = {one.prompt for one in (born, house, river)}
    policy = ConflictPolicy(judge=judge)
    url = f"sqlite:///{tmp_path}/edits.db"
    with EditMemory.open(url, HashingEncoder(), conflicts=policy) as memory:
        memory.add([*before, COMPOSED])
        asked.clear()
        memory.add([born])
        # the description, of the two edits that lead to the new one; and nothing of the others
        [described] = {text for text, _ in asked}
        assert described == "The head of state of Quendoria is"
        assert {prompt for _, prompt in asked} == {before[0].prompt, before[2].prompt}
        asked.clear()
        memory.add([house, river])
        assert asked == []


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("Lindhaven is the capital of", "capital"),
        ("The name of the country which Lindhaven is the capital of is", "capital"),
        ("What is Lindhaven the capital of?", "capital"),
        ("Which country has Lindhaven as its capital city?", "capital"),
        ("Which country's capital is Lindhaven?", "capital"),
        ("The author of Lindhaven is", None),
        ("Lindhaven is the author of", None),  # of how many books?
        ("The capital of Lindhaven is", None),
    ],
)
def test_prompts_that_ask_the_other_way_round(prompt: str, relation: str | None) -> None:
    assert turned(fact(prompt, "x", "Lindhaven")) == relation


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("The name of the capital city of canton of Oss is", "capital"),
        ("canton of Oss's capital is", "capital"),
        ("Who is canton of Oss married to?", "spouse"),
        ("The capital region of canton of Oss is", None),
    ],
)
def test_prompts_that_say_their_relation(prompt: str, relation: str | None) -> None:
    assert relation_of(fact(prompt, "x", "canton of Oss")) == relation


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("What is the name of the mother of Oss?", set()),
        ("The capital of Oss is", set()),
        ("Who founded the company that made Oss?", {"the company that made Oss"}),
        ("Where does Oss's head coach live?", {"Oss's head coach", "Oss's head"}),
        ("Who is the author of Oss, and when did the author of Oss die?", set()),
        ("Who wrote Dune?", set()),
    ],
)
def test_what_in_a_prompt_may_describe_something(prompt: str, found: set[str]) -> None:
    texts = {one.text for one in phrases(prompt, ("Oss",))}
    assert texts - {"Oss's head coach live"} == found
