"""Of edits whose names stand in each other the one with the longer name speaks."""

from __future__ import annotations

import pytest

from memedit.routing import RouteQuery
from memedit.routing.contradicting import LeftOut, Why
from memedit.routing.selection import Selection, selected
from memedit.types import Candidate, Edit, QueryText
from tests.routing.tiny_memory import decided, edit, router

BUDDHISM = edit("Buddhism was founded by", "Ansa", subject="Buddhism", id="e-short")
SHINGON = edit("Shingon Buddhism was founded by", "Dorn", subject="Shingon Buddhism", id="e-long")
ASKED = "Who founded Shingon Buddhism?"


def chosen(
    prompt: str, *edits: Edit, context: tuple[str, ...] = (), threshold: float = 0.7
) -> Selection:
    """Judge the edits the less probable the later they stand, all in scope."""
    judged = [
        decided(Candidate(one, 0.5, one.request.prompt), 0.98 - 0.02 * place)
        for place, one in enumerate(edits)
    ]
    return selected(prompt, judged, threshold, 4, ("default",), context=context)


def ids(found: Selection) -> list[str]:
    return [one.candidate.edit.id for one in found.applied]


@pytest.mark.parametrize(
    "prompt",
    [
        ASKED,
        "Shingon Buddhism's founder is",
        "who founded shingon buddhism",
        "Of Shingon Buddhism, tell me who founded Shingon Buddhism.",
    ],
)
def test_a_name_that_stands_only_in_a_longer_one_is_not_meant(prompt: str) -> None:
    found = chosen(prompt, BUDDHISM, SHINGON)
    assert ids(found) == ["e-long"]
    assert found.left_out == (LeftOut("e-short@1", "e-long@1", Why.LONGER_NAME),)


@pytest.mark.parametrize(
    "prompt",
    [
        "Did the founder of Buddhism found Shingon Buddhism?",
        "Is Shingon Buddhism what the founder of Buddhism taught?",
        "Who founded Shingon Buddhism, and who founded what came before?",
        "Who founded Buddhism?",
    ],
)
def test_a_name_that_may_be_meant_by_itself_stays(prompt: str) -> None:
    """It stands there once more alone, or the prompt has two questions, or no longer name."""
    found = chosen(prompt, BUDDHISM, SHINGON)
    assert ids(found) == ["e-short", "e-long"] and found.left_out == ()


def test_an_edit_out_of_scope_leaves_nothing_out() -> None:
    assert ids(chosen(ASKED, BUDDHISM, SHINGON, threshold=0.97)) == ["e-short"]


def test_an_and_in_the_longer_name_joins_no_questions() -> None:
    kingdom = "United Kingdom of Great Britain and Ireland"
    long = edit(f"The capital of {kingdom} is", "Ansa", subject=kingdom, id="e-long")
    short = [
        edit(f"The capital of {name} is", "Dorn", subject=name, id=f"e-{number}")
        for number, name in enumerate(("United Kingdom", "Great Britain", "Ireland"))
    ]
    found = chosen(f"What is the capital of {kingdom}?", *short, long)
    assert ids(found) == ["e-long"]
    assert {one.by for one in found.left_out} == {"e-long@1"} and len(found.left_out) == 3


def test_the_longest_of_several_speaks() -> None:
    church = edit("The seat of", "Velden", subject="Shingon Buddhism Church", id="e-church")
    found = chosen("Where is the seat of Shingon Buddhism Church?", BUDDHISM, SHINGON, church)
    assert ids(found) == ["e-church"]
    assert {(one.edit, one.by) for one in found.left_out} == {
        ("e-short@1", "e-church@1"),
        ("e-long@1", "e-church@1"),
    }


def test_aliases_and_titles_are_names_too() -> None:
    esoteric = edit("Mikkyo was founded by", "Dorn", subject="Mikkyo", id="e-long",
                    aliases=["Shingon Buddhism"])  # fmt: skip
    assert ids(chosen(ASKED, BUDDHISM, esoteric)) == ["e-long"]
    third = edit("It was made by", "Dorn", subject="Slate (3rd generation)", id="e-long")
    first = edit("Slate was made by", "Ansa", subject="Slate", id="e-short")
    assert ids(chosen("Who made Slate (3rd generation)?", first, third)) == ["e-long"]
    assert ids(chosen("Who made Slate?", first, third)) == ["e-short", "e-long"]


def test_edits_of_one_subject_and_erasures_and_own_prompts_stay() -> None:
    mayor = edit("The mayor of Paris is", "Ansa", subject="Paris", id="e-mayor")
    age = edit("Paris is as old as", "Rome", subject="Paris", aliases=["Paris, France"], id="e-age")
    # both name Paris, the one by a longer name as well
    assert ids(chosen("Who rules Paris, France?", mayor, age)) == ["e-mayor", "e-age"]
    erased = edit("Buddhism was founded by", "I don't know.", subject="Buddhism", id="e-short",
                  operation="erase")  # fmt: skip
    assert ids(chosen(ASKED, erased, SHINGON)) == ["e-short", "e-long"]
    own = edit(ASKED, "Ansa", subject="Buddhism", id="e-short")
    assert ids(chosen(ASKED, own, SHINGON)) == ["e-short", "e-long"]


def test_a_prompt_that_leans_on_earlier_turns_has_their_names() -> None:
    context = ("Tell me about Shingon Buddhism.",)
    assert ids(chosen("Who founded it?", BUDDHISM, SHINGON, context=context)) == ["e-long"]
    told = ("Shingon Buddhism is a school of Buddhism.",)
    assert ids(chosen("Who founded it?", BUDDHISM, SHINGON, context=told)) == ["e-short", "e-long"]


def test_the_router_says_what_it_left_out() -> None:
    query = RouteQuery(QueryText("Shingon Buddhism was founded by"), threshold=0.5)
    short = edit("It was Buddhism that was founded by", "Ansa", subject="Buddhism", id="e-short")
    [route] = router(short, SHINGON).decide([query])
    assert route.edit_ids == ("e-long@1",)
    assert route.note == "left-out:e-short@1:longer_name"
