"""Demonstrations on the road of a request: looked up with the decision, cut to the context."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memedit.config import InContextSettings
from memedit.errors import UpstreamUnreachable
from memedit.incontext.base import estimated_tokens
from memedit.incontext.ike import Ike
from memedit.routing import (
    NeedUpstream,
    Prepared,
    RequestOptions,
    RouteQuery,
    Router,
    UpstreamReply,
    prepare,
    run_sync,
    wire_for,
)
from memedit.routing.room import room_left, served_context
from memedit.routing.wire.base import TextPlace, TextPrompt, TokenPlace, TokenPrompt
from memedit.types import Action, QueryText, Surface
from tests.routing.tiny_memory import BySimilarity, TinyMemory, edit

ASKED = "The capital of France is"
OTHER = "How many legs does a spider have?"


class Models:
    """An upstream that only lists its models."""

    def __init__(self, context: object = 8_192, status: int = 200) -> None:
        self.context, self.status = context, status
        self.calls: list[NeedUpstream] = []

    def __call__(self, need: NeedUpstream) -> UpstreamReply:
        self.calls.append(need)
        assert (need.method, need.path, need.body) == ("GET", "/v1/models", b"")
        if self.status == 0:
            raise UpstreamUnreachable("gone")
        cards = [{"id": "m", "max_model_len": self.context}, {"id": "lora", "parent": "m"}]
        return UpstreamReply(self.status, json.dumps({"data": cards}).encode())


def router(tokens: int = 100_000) -> Router:
    memory = TinyMemory([edit()])
    ike = Ike.open(memory.encoder, InContextSettings(demonstration_tokens=tokens))
    memory.encoder.batches.clear()
    return Router(memory, BySimilarity(), dict.fromkeys(Surface, ("ike", ike)))


def done(upstream: Models, by: Router, path: str = "/v1/completions", **body: Any) -> Prepared:
    wire = wire_for("POST", path)
    assert wire is not None
    content = json.dumps({"model": "m", **body}).encode()
    plan = prepare(by, wire, content, RequestOptions(detail=True))
    return run_sync(plan, by, upstream)


def test_all_of_them_where_there_is_room_looked_up_by_the_routers_own_encoding() -> None:
    by, upstream = router(), Models()
    ready = done(upstream, by, prompt=f"Be brief.\n\n{ASKED}", max_tokens=10)
    prompt = json.loads(ready.body)["prompt"]
    assert prompt.startswith("Be brief.\n\nNew Fact: ")
    assert prompt.endswith(
        "Prompt: The capital of France is Norwick.\n\n"
        "New Fact: The capital of France is Norwick.\nPrompt: The capital of France is"
    )
    assert prompt.count("New Fact: ") == 34
    [route] = ready.routes
    assert (len(route.demonstrations), route.note) == (33, None)
    assert "x-memedit-note" not in ready.headers
    assert json.loads(ready.headers["x-memedit-detail"])["routes"][0]["demonstrations"] == 33
    assert by._memory.encoder.batches == [[ASKED]]  # type: ignore[attr-defined]
    assert len(upstream.calls) == 1


def test_what_no_edit_concerns_asks_nobody_and_stays_as_it_is() -> None:
    upstream = Models()
    ready = done(upstream, router(), prompt=OTHER)
    assert not ready.touched and upstream.calls == []
    assert len(ready.routes[0].demonstrations) == 0


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("context", [200, 300, 600, 1_000])
def test_never_more_than_the_served_context_holds(path: str, context: int) -> None:
    asked: dict[str, Any] = {"prompt": ASKED}
    if "chat" in path:
        asked = {"messages": [{"role": "user", "content": ASKED}]}
    ready = done(Models(context), router(), path, max_tokens=32, **asked)
    [route] = ready.routes
    assert route.action is Action.IN_CONTEXT and ready.touched
    assert 0 < len(route.demonstrations) < 33
    assert route.note == "fewer-demonstrations" == ready.headers["x-memedit-note"]
    body = json.loads(ready.body)
    text = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
    assert estimated_tokens(text) <= context - 32
    assert text.endswith(f"Prompt: {ASKED}")
    assert text.count("New Fact: ") == len(route.demonstrations) + 1


def test_a_request_that_fills_the_context_gets_the_edit_alone() -> None:
    ready = done(Models(256), router(), prompt=ASKED, max_tokens=256)
    assert json.loads(ready.body)["prompt"] == (
        "New Fact: The capital of France is Norwick.\nPrompt: The capital of France is"
    )
    assert ready.routes[0].note == "fewer-demonstrations"


@pytest.mark.parametrize(
    "upstream", [Models(None), Models("many"), Models(status=404), Models(status=0), Models(True)]
)
def test_an_upstream_that_does_not_say_leaves_the_configured_limit(upstream: Models) -> None:
    ready = done(upstream, router(300), prompt=ASKED)
    [route] = ready.routes
    assert 0 < len(route.demonstrations) < 33 and route.note == "fewer-demonstrations"
    assert sum(map(estimated_tokens, route.demonstrations.texts)) <= 300


def test_a_dry_run_says_what_the_configured_limit_leaves_out() -> None:
    query = RouteQuery(QueryText(ASKED), Surface.COMPLETION)
    [some], [every] = router(300).decide([query]), router().decide([query])
    assert some.to_dict()["note"] == "fewer-demonstrations"
    assert 0 < some.to_dict()["demonstrations"] < every.to_dict()["demonstrations"] == 33
    assert every.to_dict()["note"] is None


def test_each_prompt_of_a_batch_has_a_context_of_its_own() -> None:
    ready = done(Models(1_000), router(), prompt=[ASKED, OTHER, f"{'x ' * 800}\n\n{ASKED}"])
    first, other, last = ready.routes
    assert len(first.demonstrations) > len(last.demonstrations)
    assert len(other.demonstrations) == 0
    assert ready.headers["x-memedit-note"] == "fewer-demonstrations"


def test_the_context_of_a_model_that_says_nothing_is_the_shortest() -> None:
    def asked(model: object, body: bytes) -> int | None:
        plan = served_context(model)
        next(plan)
        try:
            plan.send(UpstreamReply(200, body))
        except StopIteration as end:
            return end.value
        raise AssertionError

    cards = [{"id": "a", "max_model_len": 10}, {"id": "b", "max_model_len": 5}, {"id": "lora"}]
    listed = json.dumps({"data": cards}).encode()
    assert [asked(name, listed) for name in ("a", "b", "lora", None)] == [10, 5, 5, 5]
    for broken in (b"", b"[]", b'{"data": 3}', b'{"data": [3]}', b'{"data": [{"id": []}]}'):
        assert asked("a", broken) is None


def test_room_is_what_answer_prompt_and_edit_leave() -> None:
    text = TextPrompt(QueryText("q"), TextPlace(("prompt",)))
    second = TextPrompt(QueryText("q"), TextPlace(("prompt", 1)))
    ids = TokenPrompt(TokenPlace(("prompt",), (1, 2, 3)))
    assert room_left(100, {"prompt": "abc", "max_tokens": 10}, text, "abc") == 100 - 10 - 2 - 2
    assert room_left(100, {"prompt": ["a" * 99, "abcd"]}, second, "") == 100 - 25 - 2
    assert room_left(100, {"prompt": [1, 2, 3], "max_tokens": 1}, ids, "") == 96
    body = {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 50}
    turn = TextPrompt(QueryText("hi"), TextPlace(("messages", 0, "content")))
    assert room_left(100, body, turn, "") == 50 - estimated_tokens(json.dumps(body))
