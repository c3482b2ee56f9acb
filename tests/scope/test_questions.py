"""Prompts that ask several things: how they are taken apart, and what then fires."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import RouteQuery
from memedit.scope.base import Encoder
from memedit.scope.questions import questions_in
from memedit.types import EditRequest, QueryText, ScopeLabel
from memedit.wiring import open_router

FACTS = [
    ("The capital of Quendoria is", "Quendoria", "Lindhaven"),
    ("The head of state of Quendoria is", "Quendoria", "Ansa Veld"),
    ("The currency of Quendoria is", "Quendoria", "the mark"),
    ("The capital of France is", "France", "Lyon"),
    ("Neuromancer was written by", "Neuromancer", "Dren Oll"),
    ("You and What Army was founded in", "You and What Army", "Tromm"),
]
CAPITAL, HEAD, CURRENCY, FRANCE, NEUROMANCER, ARMY = (prompt for prompt, *_ in FACTS)

Fired = Callable[[str], set[str]]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Who wrote Emma? What is the capital of Peru?", 2),
        ("What is the capital of Peru, and who leads it?", 2),
        ("Could you tell me who wrote Emma, and what the capital of Peru is?", 2),
        ("Who wrote Emma? And when? And what is it about?", 3),
        ("What is the capital of Peru; what is its currency?", 2),
        ("In which city was she born and in which did she die?", 2),
        ("Who wrote Emma? I need it for school.", 1),
        ("Who was the man who wrote Emma and whose sister drew?", 1),
        ("Where is the town that lies on the Elda and which Ansa left?", 1),
        ("What are the capitals of Peru and Chile?", 1),
        ("The capital of Peru, and who leads it", 1),
        ("Peru and what?", 1),
        ("What is it? " * 8, 8),
        ("What is it? " * 9, 1),  # a list to work through is no prompt of a few questions
        ("What is it? And " + "so " * 200 + "what is that?", 1),
        ("", 1),
        ("?", 1),
    ],
)
def test_only_questions_are_taken_apart(text: str, parts: int) -> None:
    found = questions_in(text)
    assert (len(found) or 1) == parts
    assert all(one and one in text for one in found)


@pytest.fixture(scope="module")
def fired(encoder: Encoder) -> Iterator[Fired]:
    """Return what tells the prompts of the edits that are applied, all of them direct."""
    with EditMemory.open("sqlite://", encoder) as memory:
        memory.add(
            [EditRequest(prompt=one, subject=two, target_new=three) for one, two, three in FACTS]
        )
        router = open_router(memory, Settings.read(flags={}))

        def fired(text: str) -> set[str]:
            [route] = router.decide([RouteQuery(QueryText(text))])
            assert {one.label for one in route.applied} <= {ScopeLabel.DIRECT}
            return {one.candidate.edit.request.prompt for one in route.applied}

        yield fired


@pytest.mark.parametrize(
    ("text", "edits"),
    [
        ("Who wrote Neuromancer? What is the capital of France?", {NEUROMANCER, FRANCE}),
        ("What is the capital of Quendoria and who is its head of state?", {CAPITAL, HEAD}),
        ("What is the capital of Quendoria? What is its currency?", {CAPITAL, CURRENCY}),
        ("Who wrote Emma, and what is the capital of Quendoria?", {CAPITAL}),
        ("What is the capital of Germany? And what do you know about France?", set()),
        ("What language do people speak in France, and what is the capital of Spain?", set()),
        ("Where was You and What Army founded?", {ARMY}),
    ],
)
def test_each_question_gets_its_edits(fired: Fired, text: str, edits: set[str]) -> None:
    assert fired(text) == edits
