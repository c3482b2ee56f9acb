"""Which answers count as which."""

from __future__ import annotations

import pytest

from memedit.evaluation.matching import (
    REFUSALS,
    contains,
    exact,
    is_refusal,
    normalised,
    same,
    words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Paris.", "paris"),
        ("PARIS  \n", "paris"),
        ("the  United\u00a0States", "united states"),
        ("The", "the"),
        ("A", "a"),
        ("The Who", "who"),
        ("\u201cNiagara\u201d", "niagara"),
        ("'Niagara.'", "niagara"),
        ("rock 'n' roll", "rock 'n' roll"),
        ("I don\u2019t know!", "i don't know"),
        ("1914\u20131918", "1914-1918"),
        ("Stra\u00dfe", "strasse"),
        ("\uff32\uff4f\uff4d\uff45", "rome"),  # full-width letters
        ("C\u0113sis", "c\u0113sis"),  # an accent tells names apart
        ("e\u0301", "\u00e9"),  # however it is written
        ("U.S.", "u.s"),
        ("...", ""),
        ("anthem", "anthem"),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_exact_compares_the_whole_answer_with_every_alias() -> None:
    aliases = ("Soviet Union", "USSR", "U.S.S.R.")
    assert exact(" the Soviet Union.", aliases)
    assert exact("u.s.s.r", aliases)
    assert not exact("Soviet", aliases)
    assert not exact("the Soviet Union and its allies", aliases)
    assert not exact("Cesis", ("C\u0113sis",))


def test_nothing_is_never_the_answer() -> None:
    assert not exact("", ("",))
    assert not exact(".", ("", "?"))
    assert not exact("Paris", ())
    assert not contains("", ("",))
    assert not contains("Paris", ("", "..."))


def test_contains_is_looser_but_looks_at_whole_words() -> None:
    assert contains("Not Paris, but Rome", ("Paris",))
    assert contains("It is the U.S.A., I think", ("U.S.A",))
    assert contains("The Soviet Union and its allies", ("USSR", "the Soviet Union"))
    assert not contains("Parisian", ("Paris",))
    assert not contains("Union Soviet", ("Soviet Union",))


def test_same_compares_what_a_model_said_before_and_after() -> None:
    assert same(" Paris.", "paris")
    assert same("", " \n")
    assert not same("Paris", "")
    assert not same("Paris", "Paris, France")


def test_words_have_no_punctuation() -> None:
    assert words("The \u201cbest\u201d of it, don\u2019t ask: 1,000!") == [
        "best",
        "of",
        "it",
        "don't",
        "ask",
        "1",
        "000",
    ]


def test_refusals_are_exact_unless_asked_otherwise() -> None:
    assert all(map(is_refusal, REFUSALS))
    assert is_refusal("i don\u2019t know")
    assert not is_refusal("I don't know, but I think it is Cheese.")
    assert is_refusal("I don't know, but I think it is Cheese.", loose=True)
    assert not is_refusal("Cheese, I don't know.", loose=True)
    assert not is_refusal("I don't knowingly lie.", loose=True)
