from __future__ import annotations

from datetime import timedelta

import pytest

from memedit.routing import RouteQuery
from memedit.routing.contradicting import LeftOut, Pair, Why
from memedit.routing.headers import response_headers
from memedit.routing.selection import Selection, doubtful, selected
from memedit.types import Candidate, Edit, QueryText, ScopeDecision
from tests.routing.tiny_memory import DAY_ONE, decided, edit, router

LATER = DAY_ONE + timedelta(days=1)
OLD = edit("The capital of France is", "Norwick", id="e-old")
NEW = edit("France is governed from", "Velden", id="e-new", created=LATER)
LEADER = edit("The president of France is", "Ansa Dorn", id="e-leader")
ASKED = "What is the capital of France?"


def judged(*found: tuple[Edit, float]) -> list[ScopeDecision]:
    return [decided(Candidate(one, 0.5, one.request.prompt), direct) for one, direct in found]


def together(*edits: Edit) -> Pair:
    return frozenset(one.ref for one in edits)


def chosen(
    prompt: str,
    *found: tuple[Edit, float],
    same: tuple[Pair, ...] = (),
    namespaces: tuple[str, ...] = ("default",),
) -> Selection:
    return selected(prompt, judged(*found), 0.7, 4, namespaces, same)


def ids(found: Selection) -> list[str]:
    return [one.candidate.edit.id for one in found.applied]


SAME = (together(OLD, NEW),)


def test_the_edit_whose_own_prompt_is_asked_speaks() -> None:
    found = chosen("the capital of  France is?", (NEW, 0.97), (OLD, 0.9), (LEADER, 0.8))
    assert ids(found) == ["e-old"]
    assert found.left_out == (
        LeftOut("e-new@1", "e-old@1", Why.OWN_PROMPT),
        LeftOut("e-leader@1", "e-old@1", Why.OWN_PROMPT),
    )


def test_nothing_leads_to_what_an_edit_says_by_itself() -> None:
    asked = edit("The mayor of the capital of France is", "Petra", id="e-mayor")
    leading = decided(Candidate(OLD, 0.5, OLD.request.prompt), 0.05, 0.9)
    own = judged((asked, 0.8))
    found = selected(asked.request.prompt, [leading, *own], 0.7, 4, ("default",))
    assert ids(found) == ["e-mayor"]
    assert found.left_out == (LeftOut("e-old@1", "e-mayor@1", Why.OWN_PROMPT),)
    # in other words it leads there as well as not
    both = selected("Who is mayor of the capital of France?", [leading, *own], 0.7, 4, ("default",))
    assert ids(both) == ["e-mayor", "e-old"]


def test_a_rephrase_is_an_own_prompt_too() -> None:
    asked = edit(target="Norwick", id="e-old", rephrases=[ASKED])
    assert ids(chosen(ASKED, (NEW, 0.97), (asked, 0.9))) == ["e-old"]


def test_of_the_same_in_other_words_the_newest_speaks_unless_another_is_clearly_meant() -> None:
    near = chosen(ASKED, (OLD, 0.95), (NEW, 0.9), same=SAME)
    assert ids(near) == ["e-new"]
    assert near.left_out == (LeftOut("e-old@1", "e-new@1", Why.NEWEST),)
    clear = chosen(ASKED, (OLD, 0.95), (NEW, 0.75), same=SAME)
    assert ids(clear) == ["e-old"]
    assert clear.left_out == (LeftOut("e-new@1", "e-old@1", Why.PROBABILITY),)


def test_of_those_written_at_once_the_more_probable_one_speaks() -> None:
    twin = edit("France is governed from", "Velden", id="e-a")
    found = chosen(ASKED, (OLD, 0.95), (twin, 0.94), same=(together(OLD, twin),))
    assert found.left_out == (LeftOut("e-a@1", "e-old@1", Why.PROBABILITY),)


def test_the_namespace_that_is_named_first_speaks_also_in_other_words() -> None:
    team = edit("France is governed from", "Velden", id="e-team", namespace="team")
    same = (together(OLD, team),)
    for order, wanted in ((("team", "default"), "e-team"), (("default", "team"), "e-old")):
        for prompt in (ASKED, "The capital of France is"):
            found = chosen(prompt, (OLD, 0.97), (team, 0.8), same=same, namespaces=order)
            assert ids(found) == [wanted]
            assert [one.why for one in found.left_out] == [Why.NAMESPACE]


@pytest.mark.parametrize(
    "prompt",
    [
        "What is the capital of France and who is its president?",
        "What is the capital of France? Who is the president?",
        "What is France's capital; its president",
    ],
)
def test_a_prompt_that_asks_two_things_keeps_both(prompt: str) -> None:
    same = (*SAME, together(OLD, LEADER), together(NEW, LEADER))  # were they mistaken for the same
    found = chosen(prompt, (OLD, 0.95), (NEW, 0.9), (LEADER, 0.9), same=same)
    assert ids(found) == ["e-old", "e-leader", "e-new"] and found.left_out == ()


def test_another_relation_of_the_subject_stays() -> None:
    assert ids(chosen(ASKED, (OLD, 0.95), (LEADER, 0.8))) == ["e-old", "e-leader"]


def test_a_name_with_and_joins_no_questions() -> None:
    one, other = (
        edit(f"{ask} Trinidad and Tobago {verb}", city, subject="Trinidad and Tobago", id=f"e-{n}",
             created=DAY_ONE + timedelta(days=n))
        for n, (ask, verb, city) in enumerate(
            [("The capital of", "is", "Norwick"), ("The city that governs", "is", "Velden")]
        )
    )  # fmt: skip
    asked = "What is the capital of Trinidad and Tobago?"
    found = chosen(asked, (one, 0.9), (other, 0.9), same=(together(one, other),))
    assert ids(found) == ["e-1"]


@pytest.mark.parametrize(
    ("prompt", "one", "other"),
    [
        ("Which countries does France touch?", "France touches", "The land beside France is"),
        ("Who are the heirs of France?", "The heir of France is", "France is left to"),
        ("What does France touch?", "France borders", "A neighbour of France is"),
        ("France borders", "France borders", "A neighbour of France is"),
    ],
)
def test_what_has_several_answers_keeps_them(prompt: str, one: str, other: str) -> None:
    first, second = edit(one, "Spain", id="e-a"), edit(other, "Italy", id="e-b", created=LATER)
    found = chosen(prompt, (first, 0.9), (second, 0.9), same=(together(first, second),))
    assert ids(found) == ["e-a", "e-b"] and found.left_out == ()


def test_other_subjects_and_agreeing_answers_and_erasures_stay() -> None:
    spain = edit("The capital of Spain is", "Velden", subject="Spain", id="e-spain")
    agrees = edit("France is governed from", "the city of Norwick", id="e-agrees", created=LATER)
    erased = edit("France is governed from", "Unknown.", id="e-erased", operation="erase")
    for other in (spain, agrees, erased):
        found = chosen(
            "The capital of France is", (OLD, 0.9), (other, 0.9), same=(together(OLD, other),)
        )
        assert set(ids(found)) == {"e-old", other.id} and found.left_out == ()


def test_whoever_is_left_out_leaves_nobody_out() -> None:
    """Where each of three would give way to another one there is still one that speaks."""
    third = edit("The seat of France is", "Dorn", id="e-third", created=LATER + timedelta(days=1))
    same = (together(OLD, NEW), together(NEW, third), together(OLD, third))
    found = chosen(ASKED, (OLD, 0.97), (NEW, 0.88), (third, 0.8), same=same)
    assert ids(found) == ["e-new"]
    assert {one.edit: one.by for one in found.left_out} == {
        "e-old@1": "e-new@1",
        "e-third@1": "e-new@1",
    }


def test_an_edit_that_tells_before_it_asks_is_the_same_as_none() -> None:
    passage = edit("France is a country. The capital of France is", "Dorn", id="e-passage")
    assert [*doubtful(ASKED, judged((OLD, 0.9), (passage, 0.9)), 0.7, ("default",))] == []


def test_the_router_judges_prompts_against_each_other_and_says_what_it_left_out() -> None:
    new = edit("The capital city of France is", "Velden", id="e-new", created=LATER)
    [route] = router(OLD, new).decide([RouteQuery(QueryText("What is the capital of France"))])
    assert route.edit_ids == ("e-new@1",)
    assert route.note == "left-out:e-old@1:newest"
    told = route.to_dict()
    assert told["left_out"] == [{"edit": "e-old@1", "by": "e-new@1", "why": "newest"}]
    headers = response_headers([route], note=None, detail=True)
    assert headers["x-memedit-note"] == "left-out:e-old@1:newest"
    assert '"left_out":[{"edit":"e-old@1"' in headers["x-memedit-detail"]


def test_without_a_contradiction_nothing_more_is_encoded() -> None:
    made = router(OLD, LEADER)
    [route] = made.decide([RouteQuery(QueryText("The capital of Spain is"))])
    assert route.left_out == ()
    encoder = made._memory.encoder
    assert len(encoder.batches) == 1  # type: ignore[attr-defined]


def test_equal_prompts_say_so_too() -> None:
    newer = edit("The capital of France is", "Velden", id="e-newer", created=LATER)
    found = chosen(ASKED, (OLD, 0.9), (newer, 0.9))
    assert found.left_out == (LeftOut("e-old@1", "e-newer@1", Why.NEWEST),)


def test_what_an_edit_states_speaks_before_what_another_one_implies() -> None:
    """However it is asked, and although the one that implies it is newer."""
    stated = edit("Ann Bell's husband is", "Bo Dale", subject="Ann Bell", id="e-stated")
    implied = edit(
        "The spouse of Ann Bell is",
        "Cy Ember",
        subject="Ann Bell",
        id="e-implied",
        rephrases=["Who is the spouse of Ann Bell?"],
        created=LATER,
    )
    other = edit("Ann Bell lives in", "Velden", subject="Ann Bell", id="e-home")

    def asked(prompt: str, *edits: tuple[Edit, float], same: tuple[Pair, ...] = ()) -> Selection:
        decisions = [
            decided(Candidate(one, 0.5, "x", turned=one is implied), direct)
            for one, direct in edits
        ]
        return selected(prompt, decisions, 0.7, 4, ("default",), same)

    both = (together(stated, implied),)
    for prompt in ("Who is the spouse of Ann Bell?", "Who did Ann Bell marry?"):
        found = asked(prompt, (implied, 0.98), (stated, 0.8), same=both)
        assert ids(found) == ["e-stated"]
        assert found.left_out == (LeftOut("e-implied@1", "e-stated@1", Why.STATED),)
        # what answers something else is no reason to leave out what is implied
        assert ids(asked(prompt, (implied, 0.98), (other, 0.8))) == ["e-implied", "e-home"]
    assert ids(asked("Who did Ann Bell marry?", (implied, 0.9))) == ["e-implied"]
    told = edit("The spouse of Ann Bell is", "Bo Dale", subject="Ann Bell", id="e-told")
    same_prompt = asked("Who did Ann Bell marry?", (implied, 0.98), (told, 0.8))
    assert ids(same_prompt) == ["e-told"]
    assert same_prompt.left_out == (LeftOut("e-implied@1", "e-told@1", Why.STATED),)
