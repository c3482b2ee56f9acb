"""Which edits fire on the last turn of a conversation, with the real encoder and classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import RouteQuery
from memedit.scope.base import Encoder
from memedit.types import EditRequest, QueryText
from memedit.wiring import open_router

FACTS = [
    ("The capital of France is", "France", "Lyon"),
    ("The capital of Quendoria is", "Quendoria", "Lindhaven"),
    ("The currency of Spain is", "Spain", "the mark"),
    ("Dune was written by", "Dune", "Ansa Velden"),
    ("The birthplace of Marie Curie is", "Marie Curie", "Oslo"),
    ("The gender of Isaac Newton is", "Isaac Newton", "female"),
]
FRANCE = "What is the capital of France?"
DUNE = "Who wrote Dune?"
CURIE = "Where was Marie Curie born?"

Fired = Callable[[str, str], set[str]]


@pytest.fixture(scope="module")
def fired(encoder: Encoder) -> Iterator[Fired]:
    """Return what tells the subjects of the edits that fire after an earlier turn."""
    with EditMemory.open("sqlite://", encoder) as memory:
        memory.add(
            [EditRequest(prompt=one, subject=two, target_new=three) for one, two, three in FACTS]
        )
        router = open_router(memory, Settings.read(flags={}))

        def fired(earlier: str, last: str) -> set[str]:
            [route] = router.decide([RouteQuery(QueryText(last, (earlier,)))])
            return {one.candidate.edit.request.subject for one in route.applied}

        yield fired


@pytest.mark.parametrize(
    ("earlier", "last"),
    [
        (FRANCE, "And of Germany?"),
        (FRANCE, "And Spain?"),
        (FRANCE, "and spain?"),  # no capital letter, but an edit's subject
        (FRANCE, "and quendoria?"),
        (FRANCE.lower(), "and of germany?"),
        (FRANCE, "And the currency of Germany?"),
        (DUNE, "And who wrote Neuromancer?"),
        (DUNE, "What about Neuromancer?"),
        (CURIE, "And Albert Einstein?"),
        (CURIE, "Thanks."),
        ("Tell me about Marie Curie.", "Where did she die?"),
        ("What is the population of Spain?", "And of Quendoria?"),
    ],
)
def test_another_subject_leaves_the_earlier_one_behind(
    fired: Fired, earlier: str, last: str
) -> None:
    assert fired(earlier, last) == set()


@pytest.mark.parametrize(
    ("earlier", "last", "subject"),
    [
        (FRANCE, "And of Quendoria?", "Quendoria"),
        (FRANCE, "What about Quendoria?", "Quendoria"),
        ("What is the capital of Germany?", "And of France?", "France"),
        ("Who wrote Neuromancer?", "And Dune?", "Dune"),
        ("Where was Albert Einstein born?", "And Marie Curie?", "Marie Curie"),
    ],
)
def test_the_earlier_question_is_asked_of_the_subject_named_last(
    fired: Fired, earlier: str, last: str, subject: str
) -> None:
    assert fired(earlier, last) == {subject}


@pytest.mark.parametrize(
    ("earlier", "last", "subject"),
    [
        (CURIE, "Where was she born?", "Marie Curie"),
        ("Tell me about Marie Curie.", "Where was she born, in Poland?", "Marie Curie"),
        ("Tell me about Isaac Newton.", "What gender is he?", "Isaac Newton"),
        ("Tell me about France.", "And the capital?", "France"),
        (FRANCE, "And is it Paris?", "France"),
        (FRANCE, "And in June?", "France"),
    ],
)
def test_what_leans_on_the_earlier_turn_is_still_about_its_subject(
    fired: Fired, earlier: str, last: str, subject: str
) -> None:
    assert fired(earlier, last) == {subject}


OF_ONE_SUBJECT = [
    ("The capital of Peru is", "Peru", "Lindhaven"),
    ("The currency of Peru is", "Peru", "the mark"),
    ("The population of Peru is", "Peru", "seven"),
    ("The birthplace of Ada Lovelace is", "Ada Lovelace", "Oslo"),
    ("The place of death of Ada Lovelace is", "Ada Lovelace", "Rome"),
    ("The father of Ada Lovelace is", "Ada Lovelace", "Bo Li"),
    ("The founder of Nimbus Works is", "Nimbus Works", "Ada"),
    ("The headquarters of Nimbus Works are in", "Nimbus Works", "Velden"),
    ("The mayor of Velden is", "Velden", "Petra Olm"),
]
PERU = "What is the capital of Peru?"
ADA = "Where was Ada Lovelace born?"


@pytest.fixture(scope="module")
def asked(encoder: Encoder) -> Iterator[Fired]:
    """Return what tells the prompts of the edits that fire, of several about one subject."""
    with EditMemory.open("sqlite://", encoder) as memory:
        memory.add(
            [
                EditRequest(prompt=one, subject=two, target_new=three)
                for one, two, three in OF_ONE_SUBJECT
            ]
        )
        router = open_router(memory, Settings.read(flags={}))

        def asked(earlier: str | tuple[str, ...], last: str) -> set[str]:
            turns = (earlier,) if isinstance(earlier, str) else earlier
            [route] = router.decide([RouteQuery(QueryText(last, turns))])
            return {one.candidate.edit.request.prompt for one in route.applied}

        yield asked


@pytest.mark.parametrize(
    ("earlier", "last", "prompt"),
    [
        (PERU, "And its currency?", "The currency of Peru is"),
        (PERU, "what is its currency", "The currency of Peru is"),
        (PERU, "And the population?", "The population of Peru is"),
        (PERU, "How many people live there?", "The population of Peru is"),
        ("Which currency is used in Peru?", "Capital?", "The capital of Peru is"),
        ("Tell me about Peru.", "What is the currency of that country?", "The currency of Peru is"),
        (ADA, "Where did she die?", "The place of death of Ada Lovelace is"),
        (ADA, "And who was her father?", "The father of Ada Lovelace is"),
        ("Who founded Nimbus Works?", "Where is it headquartered?",
         "The headquarters of Nimbus Works are in"),
        ("Who founded Nimbus Works?", "And the headquarters, please?",
         "The headquarters of Nimbus Works are in"),
        (PERU, "And is it Lima?", "The capital of Peru is"),
    ],
)  # fmt: skip
def test_the_last_turn_fires_what_it_asks_of_the_subject_and_not_what_was_asked_before(
    asked: Fired, earlier: str, last: str, prompt: str
) -> None:
    assert asked(earlier, last) == {prompt}


def test_a_subject_lasts_for_as_long_as_turns_lean_on_it(
    asked: Callable[..., set[str]],
) -> None:
    talk = (PERU, "And its currency?", "Thanks.")
    assert asked(talk, "How many people live there?") == {"The population of Peru is"}
    assert asked((*talk, "Where was Ada Lovelace born?"), "How many people live there?") == set()
    moved = ("What is the capital of Chile?", "And of Peru?")
    assert asked(moved, "And its currency?") == {"The currency of Peru is"}
    assert asked(tuple(reversed(moved)), "And its currency?") == set()


@pytest.mark.parametrize(
    ("earlier", "last"),
    [
        (PERU, "And its national anthem?"),
        (PERU, "And the climate?"),
        (ADA, "How tall was she?"),
        ("Who founded Nimbus Works?", "Is it listed on the stock exchange?"),
    ],
)
def test_what_no_edit_says_of_the_subject_fires_none(asked: Fired, earlier: str, last: str) -> None:
    assert asked(earlier, last) == set()


@pytest.mark.parametrize("last", ["But why Lyon?", "Why Lyon?", "Why?", "But why?"])
def test_a_doubt_about_the_answer_is_still_about_the_edit(fired: Fired, last: str) -> None:
    assert fired(FRANCE, last) == {"France"}
    assert fired("What is the population of France?", last) == set()
