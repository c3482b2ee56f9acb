"""Turns that leave their subject out, with a name put in."""

import pytest

from memedit.scope.pronouns import may_mean_the_answer, with_name


@pytest.mark.parametrize(
    ("turn", "whole"),
    [
        ("And its currency?", "And Peru's currency?"),
        ("Where did she die?", "Where did Peru die?"),
        ("And who was her father?", "And who was Peru's father?"),
        ("Who married her?", "Who married Peru?"),
        ("Is her in there?", "Is Peru in there?"),
        ("It's how old?", "Peru is how old?"),
        ("How many people live there?", "How many people live in Peru?"),
        ("Is it true that he died?", "Is it true that Peru died?"),
        ("What is the capital of that country?", "What is the capital of Peru?"),
        ("That company's founder?", "Peru's founder?"),
        ("Who leads it and where is it?", "Who leads Peru and where is it?"),
        ("And the population?", "And the population of Peru?"),
        ("And the head of government?", "And the head of government of Peru?"),
        ("And what is the official language?", "And what is the official language of Peru?"),
        ("What about the price, please?", "What about the price of Peru, please?"),
        ("The capital?", "The capital of Peru?"),
        ("Capital?", "Capital of Peru?"),
    ],
)
def test_a_name_is_put_where_the_turn_leaves_it_out(turn: str, whole: str) -> None:
    assert with_name(turn, "Peru") == whole


@pytest.mark.parametrize(
    "turn",
    ["and in 2010?", "Since when?", "But why Lyon?", "And is it Lyon?", "Was that so?", "Why?", ""],
)
def test_a_turn_that_shows_no_place_for_it_is_left(turn: str) -> None:
    assert with_name(turn, "Peru") is None


def test_a_person_may_be_the_answer_to_who() -> None:
    assert may_mean_the_answer("How old is he?", "Who is the mayor of Oslo?")
    assert not may_mean_the_answer("How old is it?", "Who is the mayor of Oslo?")
    assert not may_mean_the_answer("How old is he?", "Where was Ada Lovelace born?")
