"""Edits that contradict each other, with the shipped classifier: who speaks, and who stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import RouteQuery, Router
from memedit.scope.base import Encoder
from memedit.types import EditRequest, QueryText
from memedit.wiring import open_router

FACTS = [
    ("The capital of Quendoria is", "Lindhaven"),
    ("The president of Quendoria is", "Ansa Dorn"),
    ("The government of Quendoria sits in", "Velden"),  # the first again, in other words
]


@pytest.fixture(scope="module")
def router(encoder: Encoder) -> Iterator[Router]:
    with EditMemory.open("sqlite://", encoder) as memory:
        for prompt, target in FACTS:
            memory.add([EditRequest(prompt=prompt, subject="Quendoria", target_new=target)])
        yield open_router(memory, Settings())


@pytest.mark.parametrize(
    ("prompt", "told", "silent"),
    [
        ("The capital of Quendoria is", {"Lindhaven"}, {"Velden"}),  # an edit's own prompt
        ("What is the capital of Quendoria?", {"Velden"}, {"Lindhaven"}),  # the newest
        ("Who is the president of Quendoria?", {"Ansa Dorn"}, set()),
        # the classifier misses the other half, which is its affair; nothing is left out here
        ("Name the capital of Quendoria and its president.", {"Lindhaven", "Velden"}, set()),
    ],
)
def test_who_speaks(router: Router, prompt: str, told: set[str], silent: set[str]) -> None:
    [route] = router.decide([RouteQuery(QueryText(prompt))])
    assert {one.candidate.edit.request.target_new for one in route.applied} == told
    left_out = {one.edit for one in route.left_out}
    said = {
        one.candidate.edit.request.target_new
        for one in route.considered
        if one.candidate.edit.ref in left_out
    }
    assert said == silent
