"""The proxy in front of two models: which is asked, under whose key, and what if one fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from memedit.config import SeracSettings, ServeSettings
from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.serving import create_app
from memedit.types import EditRequest, Operation, Surface
from tests.serving.parts import ASKED, ATLANTIS, UNRELATED, BeforeMethod, SimilarityClassifier, chat
from tests.serving.raw_upstream import RawUpstream, chunked, whole
from tests.serving.served import Answer, Served

SEEN = f"The capital of Atlantis is Nautilopolis\n{ASKED}"
SAID = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Nautilopolis"}}]}'
EVENTS = (b'data: {"choices":[{"delta":{"content":"Nautil"}}]}\n\n', b"data: [DONE]\n\n")
SSE = (b"content-type: text/event-stream",)
Start = Callable[..., Served]


@pytest.fixture
def small() -> Iterator[RawUpstream]:
    raw = RawUpstream()
    raw.default = whole(SAID)
    yield raw
    raw.stop()


@pytest.fixture
def start(upstream: RawUpstream, small: RawUpstream, memory: EditMemory) -> Iterator[Start]:
    method: Any = ("before", BeforeMethod())
    methods = dict.fromkeys(Surface, method)
    router = Router(memory, SimilarityClassifier(), methods, counterfactual=True)
    memory.add([ATLANTIS])
    with ExitStack() as stack:

        def run(**serac: Any) -> Served:
            settings = ServeSettings(upstream=upstream.url, host="127.0.0.1")
            chosen = SeracSettings(**({"url": small.url, "model": "small"} | serac))
            served = Served(create_app(settings, router, memory, counterfactual=chosen))
            stack.callback(served.stop)
            return served

        yield run


def in_context(answer: Answer, upstream: RawUpstream, why: str) -> None:
    """Check that the served model answered, with the edit in its prompt."""
    assert answer.status == 200
    assert answer.header("x-memedit-route") == "in_context"
    assert answer.header("x-memedit-note") == f"serac-failed:{why}"
    body = json.loads(upstream.last().body)
    assert body["model"] == "m"
    assert "Nautilopolis" in body["messages"][0]["content"]


def test_what_an_edit_answers_is_asked_of_the_small_model(
    start: Start, upstream: RawUpstream, small: RawUpstream
) -> None:
    proxy = start(api_key="its-own")
    answer = proxy.post(
        "/v1/chat/completions", chat(ASKED), authorization="Bearer client", cookie="a=b"
    )
    assert answer.body == SAID and answer.header("content-type") == "application/json"
    assert answer.header("x-memedit-route") == "counterfactual"
    assert not upstream.requests
    [asked] = small.requests
    assert json.loads(asked.body) == chat(SEEN) | {"model": "small"}
    assert asked.header(b"authorization") == b"Bearer its-own"
    assert asked.header(b"cookie") is None


def test_everything_else_goes_untouched_to_the_model(
    start: Start, upstream: RawUpstream, small: RawUpstream
) -> None:
    body = json.dumps(chat(UNRELATED)).encode()
    answer = start().ask("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    assert answer.header("x-memedit-route") == "pass"
    assert upstream.last().body == body and not small.requests


def test_a_stream_comes_back_as_one(start: Start, small: RawUpstream) -> None:
    small.default = chunked(EVENTS, SSE)
    answer = start().post("/v1/chat/completions", chat(ASKED, stream=True))
    assert answer.body == b"".join(EVENTS)
    assert answer.header("content-type") == "text/event-stream"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (whole(b"no", b"500 Internal Server Error"), "status-500"),
        (whole(b"no", b"404 Not Found"), "status-404"),
        (chunked(EVENTS[:1], SSE, end=False), "upstream-cut"),
        (chunked(EVENTS[:1], SSE), "stream-broken"),
    ],
)
def test_where_it_fails_the_edit_goes_into_the_context(
    start: Start, upstream: RawUpstream, small: RawUpstream, script: Any, why: str
) -> None:
    small.default = script
    in_context(start().post("/v1/chat/completions", chat(ASKED, stream=True)), upstream, why)


def test_where_it_is_not_there_either(start: Start, upstream: RawUpstream) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    in_context(
        start(url=url).post("/v1/chat/completions", chat(ASKED)), upstream, "upstream-unreachable"
    )


def test_its_answer_is_watched_for_an_erased_fact(
    start: Start, small: RawUpstream, memory: EditMemory
) -> None:
    gone = EditRequest(
        prompt="What is the capital of Lemuria?",
        subject="Lemuria",
        target_new="I don't know.",
        ground_truth="Coralbridge",
        operation=Operation.ERASE,
    )
    memory.add([gone])
    told = SAID.replace(b"Nautilopolis", b"Coralbridge")
    small.default = whole(told)
    answer = start().post("/v1/chat/completions", chat(gone.prompt))
    assert answer.header("x-memedit-route") == "counterfactual"
    assert answer.header("x-memedit-guard") == "withheld"
    assert b"Coralbridge" not in answer.body and b"don't know" in answer.body
