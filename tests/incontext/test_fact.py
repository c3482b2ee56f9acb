from __future__ import annotations

import pytest

from memedit.incontext.fact import lowered, sentence, sentences
from memedit.types import Operation
from tests.routing.tiny_memory import edit


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (edit(), "The capital of France is Norwick."),
        (edit(target="Norwick."), "The capital of France is Norwick."),
        (
            edit("What is the capital of France?", "Norwick"),
            'The answer to "What is the capital of France?" is Norwick.',
        ),
        (
            edit("What is the capital of France?", "Norwick", statement="Norwick leads France"),
            "Norwick leads France.",
        ),
        (edit(statement="Is it Norwick?"), "Is it Norwick?"),
        (edit(statement='They call it "Norwick."'), 'They call it "Norwick."'),
        (edit(statement="首都是诺里克。"), "首都是诺里克。"),
        (
            edit(target="I don't know.", operation=Operation.ERASE),
            'The answer to "The capital of France is" is withheld: reply "I don\'t know".',
        ),
        (
            edit(target='I "can\'t" say that.', operation=Operation.ERASE),
            'The answer to "The capital of France is" is withheld: reply "I \'can\'t\' say that".',
        ),
        (edit(operation=Operation.ERASE, statement="Say nothing."), "Say nothing."),
        (edit(statement="two\n\nlines\there"), "two lines here."),
    ],
)
def test_an_edit_as_one_sentence(one: object, text: str) -> None:
    assert sentence(one) == text  # type: ignore[arg-type]


def test_each_fact_once_whatever_its_case() -> None:
    facts = sentences([edit(), edit("Berlin is"), edit("the capital of France is")])
    assert facts == ("The capital of France is Norwick.", "Berlin is Norwick.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The capital", "the capital"),
        ("A moon", "a moon"),
        ("Its name", "its name"),
        ("Norwick is", "Norwick is"),
        ("Theodor is", "Theodor is"),
        ("In Norwick", "In Norwick"),
        ("iPhone is", "iPhone is"),
        ("the x", "the x"),
        ("", ""),
        ("THE CAPITAL", "THE CAPITAL"),
    ],
)
def test_only_a_plain_first_word_loses_its_capital(text: str, expected: str) -> None:
    assert lowered(text) == expected
