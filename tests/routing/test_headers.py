from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.routing import Reason, Route
from memedit.routing.headers import MAX_DETAIL, MAX_LIST, response_headers
from memedit.types import Action, Candidate
from tests.routing.tiny_memory import decided, edit


def in_context(*names: str, long: str = "") -> Route:
    applied = tuple(
        decided(Candidate(edit(id=name, target=f"x{long}"), 1.0, f"matched{long}"), 1.0)
        for name in names
    )
    return Route(
        Action.IN_CONTEXT, Reason.IN_SCOPE, method="ice", applied=applied, considered=applied
    )


def test_of_a_batch_each_value_once_in_the_order_of_prompts() -> None:
    routes = [Route(Action.PASS, Reason.GATED), in_context("e-b", "e-a"), in_context("e-a")]
    assert response_headers(routes, note="n", detail=False) == {
        "x-memedit-route": "pass,in_context",
        "x-memedit-reason": "gated,in_scope",
        "x-memedit-edits": "e-b@1,e-a@1",
        "x-memedit-method": "ice",
        "x-memedit-note": "n",
    }


def test_a_list_that_is_too_long_says_so() -> None:
    names = [f"e-{number:012}" for number in range(500)]
    value = response_headers([in_context(*names)], note=None, detail=False)["x-memedit-edits"]
    assert len(value) <= MAX_LIST
    *shown, rest = value.split(",")
    assert rest == "..."
    assert shown == [f"{name}@1" for name in names[: len(shown)]] and len(shown) > 50


@pytest.mark.parametrize(
    ("prompts", "edits"), [(1, 0), (1, 1), (1, 5), (1, 80), (3, 5), (40, 1), (3_000, 0)]
)
@pytest.mark.parametrize("length", [0, 100, 2_000])
def test_detail_is_json_that_fits(prompts: int, edits: int, length: int) -> None:
    route = in_context(*(f"e-{n}" for n in range(edits)), long="é" * length)
    text = response_headers([route] * prompts, note=None, detail=True)["x-memedit-detail"]
    assert len(text) <= MAX_DETAIL and text.isascii()
    detail = json.loads(text)
    whole = {"routes": [route.to_dict()] * prompts}
    if "truncated" not in detail:
        assert detail == whole
    else:
        assert len(json.dumps(whole, separators=(",", ":"))) > MAX_DETAIL
        assert detail["routes"]


@given(st.text(st.characters(codec=None), max_size=30))
def test_no_value_can_break_a_header(text: str) -> None:
    name = text or "e"
    route = Route(
        Action.IN_CONTEXT,
        Reason.IN_SCOPE,
        method=name,
        note=name,
        applied=(decided(Candidate(edit(id=name), 1.0, name), 1.0),),
    )
    headers = response_headers([route], note=text, detail=True)
    for value in headers.values():
        assert value.isascii() and value.isprintable()
