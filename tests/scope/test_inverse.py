"""Edits asked from their other end, through router, encoder and the shipped classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import RouteQuery
from memedit.scope.base import Encoder
from memedit.types import EditRequest, QueryText, Surface
from memedit.wiring import open_router

FACTS = [
    ("The capital of Quendoria is", "Quendoria", "Lindhaven"),
    ("Who is Ansa Velden's mother?", "Ansa Velden", "Berta Rix"),
    ("Tilda Orr is married to", "Tilda Orr", "Kunz Amsel"),
    ("The birthplace of Marie Curie is", "Marie Curie", "Oslo"),
]

Told = Callable[[str], set[str]]


@pytest.fixture(scope="module")
def told(encoder: Encoder) -> Iterator[Told]:
    """Return what tells the statements that are written before a prompt."""
    with EditMemory.open("sqlite://", encoder) as memory:
        memory.add(
            [EditRequest(prompt=one, subject=two, target_new=three) for one, two, three in FACTS]
        )
        router = open_router(memory, Settings.read(flags={}))

        def told(prompt: str) -> set[str]:
            [route] = router.decide([RouteQuery(QueryText(prompt))])
            inserted = router.compose(prompt, route, Surface.CHAT)
            said = {one.candidate.edit.statement for one in route.applied}
            assert all(one in inserted.before + inserted.after for one in said)
            return said

        yield told


@pytest.mark.parametrize(
    ("prompt", "statement"),
    [
        ("Lindhaven is the capital of", "Lindhaven is the capital of Quendoria."),
        ("Which country has Lindhaven as its capital?", "Lindhaven is the capital of Quendoria."),
        ("What is the capital of Quendoria?", "The capital of Quendoria is Lindhaven."),
        ("Who is Berta Rix's daughter?", "The child of Berta Rix is Ansa Velden."),
        ("The name of the child of Berta Rix is", "The child of Berta Rix is Ansa Velden."),
        ("Who is the wife of Kunz Amsel?", "The spouse of Kunz Amsel is Tilda Orr."),
    ],
)
def test_a_fact_is_told_from_the_end_that_is_asked(told: Told, prompt: str, statement: str) -> None:
    assert told(prompt) == {statement}


@pytest.mark.parametrize(
    "prompt",
    [
        "How many people live in Lindhaven?",
        "Lindhaven is the birthplace of",
        "Who is Berta Rix's mother?",
        "Where was Kunz Amsel born?",
        "Who was born in Oslo?",  # an edit of a birthplace says nothing that a name has
    ],
)
def test_other_questions_about_the_target_stay_untouched(told: Told, prompt: str) -> None:
    assert told(prompt) == set()
