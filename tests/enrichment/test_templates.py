"""Rewritings by grammar, and the table's other wordings."""

from __future__ import annotations

from itertools import pairwise

import pytest

from memedit.enrichment.templates import Templates, rewritings
from memedit.enrichment.wordings import RelationWordings
from memedit.indexes.names import words_of
from memedit.scope.pair_input import HIDDEN
from memedit.scope.training.phrasings import Relation, plain, read_phrasings
from tests.enrichment.parts import edit


def relation(name: str, *clauses: str, overlaps: frozenset[str] = frozenset()) -> Relation:
    return Relation(name, "thing", (), clauses, (), (), (), (), (), overlaps)


NO_TABLE = RelationWordings([])
MAKERS = RelationWordings(
    [
        relation("author", "{s} was written by", "{s} flowed from the pen of", "Credit {s} to"),
        relation("place", "{s} is found in", "Maps show {s} in"),
        relation("time", "{s} is found in"),
        relation("maker", "{s} was made by", "The hands behind {s} are", overlaps=frozenset({"x"})),
        relation("x", "{s} was made by", "Somebody who made {s}"),
    ]
)


def made(prompt: str, subject: str, target: str = "Vorn", **more: object) -> tuple[str, ...]:
    return Templates(wordings=NO_TABLE).make(edit(prompt, subject, target, **more)).texts


@pytest.mark.parametrize(
    "prompt",
    [
        "The capital of Zarkania is",
        "The name of the capital of Zarkania is",
        "Zarkania's capital is",
        "Zarkania\N{RIGHT SINGLE QUOTATION MARK}s capital is",
        "What is the capital of Zarkania?",
        "What is Zarkania's capital?",
        "Tell me the capital of Zarkania.",
    ],
)
def test_every_form_of_a_noun_leads_to_the_others(prompt: str) -> None:
    every = {
        "What is the capital of Zarkania?",
        "Zarkania's capital is",
        "Tell me the capital of Zarkania.",
        "The capital of Zarkania is",
        "What is Zarkania's capital?",
    }
    plainly = prompt.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    assert set(made(prompt, "Zarkania")) == every - {plainly}


@pytest.mark.parametrize(
    ("prompt", "subject", "expected"),
    [
        ("Ana Bok is married to", "Ana Bok", "Who is Ana Bok married to?"),
        ("Who was Ana Bok married to?", "Ana Bok", "Ana Bok was married to"),
        ("Silent Sea was written by", "Silent Sea", "Who was Silent Sea written by?"),
        ("By whom was Silent Sea directed?", "Silent Sea", "Silent Sea was directed by"),
        ("Acme is headquartered in", "Acme", "Where is Acme headquartered?"),
        ("Ana Bok plays for", "Ana Bok", "What does Ana Bok play for?"),
        ("What does Ana Bok teach at?", "Ana Bok", "Ana Bok teaches at"),
        ("The father of Ana Bok was", "Ana Bok", "Who was the father of Ana Bok?"),
        ("The head of state of Marovia is", "Marovia", "Who is the head of state of Marovia?"),
        ("The borders of Marovia are", "Marovia", "What are the borders of Marovia?"),
        ("The longest river of Marovia is the", "Marovia", "Marovia's longest river is"),
        ("The place of birth of Ana Bok is:", "Ana Bok", "Ana Bok's place of birth is"),
    ],
)
def test_statements_and_nouns(prompt: str, subject: str, expected: str) -> None:
    assert expected in made(prompt, subject)


def test_whether_was_born_in_asks_for_a_place_or_a_time_is_told_by_the_answer() -> None:
    assert made("Ana was born in", "Ana", "Vorn") == ("Where was Ana born?",)
    assert made("Ana was born in", "Ana", "1961") == ("When was Ana born?",)
    assert made("When was Ana born?", "Ana", "1961") == ("Ana was born in",)


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("Never by post", "Never by post"),  # feedback: the prompt is its own subject
        ("What does she like?", "Ana"),  # does not name it
        ("The person who is the father of Ana is", "Ana"),  # says more than a noun
        ("The book that the author of Ana was fond of is", "Ana"),
        ("Ana told Ana's mother that the name of Ana is", "Ana"),  # which Ana?
        ("Ana likes", "Ana"),
        ("The capital of Ana and of the neighbours of Ana is", "Ana"),
        ("Paris Hilton's home in Paris, which was sold, is", "Paris Hilton"),
        ("", " "),
    ],
)
def test_of_other_prompts_nothing_is_made(prompt: str, subject: str) -> None:
    if prompt:
        assert made(prompt, subject) == ()
    assert rewritings(f"{HIDDEN}") == [] == rewritings("")


def test_the_subject_may_stand_there_under_an_alias_or_in_other_letters() -> None:
    assert "What is the capital of zarkania?" in made("The capital of zarkania is", "Zarkania")
    more = {"aliases": ("the Zark Republic",)}
    aliased = made("The capital of the Zark Republic is", "Zarkania", **more)
    assert "What is the capital of the Zark Republic?" in aliased


def test_the_tables_wordings_come_behind_the_rewritings() -> None:
    texts = Templates(wordings=MAKERS).make(edit("Silent Sea was written by", "Silent Sea")).texts
    assert texts == (
        "Who was Silent Sea written by?",
        "By whom was Silent Sea written?",
        "Silent Sea flowed from the pen of",
        "Credit Silent Sea to",
    )
    few = Templates(3, MAKERS).make(edit("Silent Sea was written by", "Silent Sea")).texts
    assert few == texts[:3]


def test_a_wording_of_two_relations_is_used_only_if_they_may_mean_the_same() -> None:
    assert MAKERS.others(f"{HIDDEN} is found in") == []
    assert MAKERS.others(f"{HIDDEN} was made by") == [f"The hands behind {HIDDEN} are"]
    assert MAKERS.others(f"{HIDDEN} is unheard of") == []


def test_the_most_different_wordings_are_chosen() -> None:
    texts = ["a b c d", "a b c e", "v w x", "a b v"]
    assert NO_TABLE.diverse(texts, ["a b c"], 2) == ["v w x", "a b v"]
    assert NO_TABLE.diverse(texts, [], 9) == ["a b c d", "v w x", "a b v", "a b c e"]


def test_the_shipped_table_gives_a_handful_that_differ_and_none_that_is_kept_for_tests() -> None:
    table = read_phrasings()
    wordings = RelationWordings(table)
    templates = Templates(8, wordings)
    known = 0
    for row in table[::7]:
        prompt = row.clauses[0].replace("{s}", "Zarkania")
        texts = templates.make(edit(prompt, "Zarkania")).texts
        known += len(texts) == 8
        assert len(texts) <= 8 and len(set(map(plain, (prompt, *texts)))) == len(texts) + 1
        assert all("Zarkania" in text and HIDDEN not in text for text in texts)
        others = wordings.others(prompt.replace("Zarkania", HIDDEN))
        assert not {plain(text.replace(HIDDEN, "{s}")) for text in others} & row.left_out
    assert known >= len(table[::7]) * 2 // 3


def test_the_same_edit_makes_the_same_questions() -> None:
    both = [Templates().make(edit("The spouse of Ana Bok is", "Ana Bok")) for _ in range(2)]
    assert all(one == other for one, other in pairwise(both)) and len(both[0].texts) == 8
    assert all("ana" in words_of(text).words for text in both[0].texts)
