"""The agent over HTTP: one question, many at once, and what it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import httpx2
import pytest

import memedit
from memedit.agent import EditLookup, Ended, Endpoint, Lookup, MultiHopAgent, run_together
from memedit.agent.mello import Mello
from memedit.agent.pokemqa import Pokemqa
from memedit.config import Settings
from memedit.errors import InvalidInputError, MemoryFailure, UnknownNameError
from memedit.routing import NeedUpstream, Route, RouteQuery, UpstreamReply, run_sync
from memedit.scope.base import Encoder
from memedit.types import EditRequest, Surface
from tests.agent.scripted import Scripted
from tests.routing.tiny_memory import edit, router

COUNTRY = "In which country is the Iron Bridge?"
MOVED = edit(COUNTRY, "Marovia", subject="the Iron Bridge", id="e-bridge")
SCRIPT = [
    f"\nSubquestion: {COUNTRY}\nGenerated answer: England.",
    "\nRetrieved fact contradicts to generated answer, so the intermediate answer is: Marovia.\n"
    "Final answer: Marovia.",
]


def mello(**options: object) -> MultiHopAgent:
    return MultiHopAgent(
        router(MOVED),
        "http://model.test/v1/",
        method="mello",
        **options,  # type: ignore[arg-type]
    )


class Echoing:
    """Answers each question from its own transcript, and counts what is under way."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.headers: list[httpx2.Headers] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.headers.append(request.headers)
        if request.method == "GET":
            return httpx2.Response(200, json={"data": [{"id": "echo"}]})
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        prompt = json.loads(request.content)["prompt"]
        question = prompt.rsplit("\n\nQuestion: ", 1)[-1].splitlines()[0]
        first = "Retrieved fact:" not in prompt.rsplit("\n\nQuestion: ", 1)[-1]
        text = (
            f"\nSubquestion: What of {question}\nGenerated answer: x."
            if first
            else f"\nFinal answer: {question}"
        )
        return httpx2.Response(200, json={"choices": [{"text": text, "finish_reason": "stop"}]})


def test_one_question_over_http() -> None:
    endpoint = Scripted(SCRIPT)
    trace = mello(transport=endpoint.transport()).ask("Where is it?")
    assert (trace.answer, trace.model) == ("Marovia", "scripted")
    assert json.loads(json.dumps(trace.to_dict()))["edits"] == ["e-bridge@1"]
    assert endpoint.bodies[0]["model"] == "scripted"


def test_many_questions_run_side_by_side_within_the_limit_and_in_order() -> None:
    echo = Echoing()
    agent = mello(
        async_transport=httpx2.MockTransport(echo), concurrency=3, api_key="hush", model="echo"
    )
    questions = [f"number {n}?" for n in range(8)]
    traces = asyncio.run(agent.ask_many(questions))
    assert [trace.answer for trace in traces] == questions
    assert 1 < echo.most <= 3
    assert all(one["x-memedit-bypass"] == "1" for one in echo.headers)
    assert all(one["authorization"] == "Bearer hush" for one in echo.headers)
    with pytest.raises(InvalidInputError, match="question 1 is empty"):
        asyncio.run(agent.ask_many(["a?", " "]))


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (500, b"the toy broke", "answered 500: the toy broke"),
        (200, b"<html>", "no JSON object"),
        (200, b'{"choices": []}', "without text"),
        (200, b'{"choices": [{"text": null}]}', "without text"),
        (200, b"[" * 100_000, "no JSON object"),
    ],
)
def test_an_endpoint_that_answers_oddly_is_said(status: int, content: bytes, said: str) -> None:
    odd = httpx2.MockTransport(lambda request: httpx2.Response(status, content=content))
    trace = mello(transport=odd, model="m").ask("Where is it?")
    assert trace.ended is Ended.ENDPOINT_FAILED and said in str(trace.error)


def test_an_endpoint_that_is_not_there_or_has_no_model_is_said() -> None:
    trace = MultiHopAgent(router(), "http://127.0.0.1:9", timeout=5).ask("Where is it?")
    assert trace.ended is Ended.ENDPOINT_FAILED and "127.0.0.1:9" in str(trace.error)
    bare = httpx2.MockTransport(lambda request: httpx2.Response(200, json={"data": []}))
    trace = mello(transport=bare).ask("Where is it?")
    assert trace.ended is Ended.ENDPOINT_FAILED and "lists no model" in str(trace.error)


def test_arguments_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mello'"):
        MultiHopAgent(router(), "http://model.test", method="melo")
    with pytest.raises(InvalidInputError, match="no URL"):
        MultiHopAgent(router(), "model.test")
    with pytest.raises(InvalidInputError, match="concurrency 0"):
        MultiHopAgent(router(), "http://model.test", concurrency=0)


def test_open_takes_memory_and_router_from_the_settings(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.scope.encoder.open_encoder", lambda settings: encoder)
    settings = Settings(memory={"namespace": "ours"})  # type: ignore[arg-type]
    with memedit.open_memory("sqlite://", settings) as memory:
        fact = EditRequest(prompt=COUNTRY, subject="the Iron Bridge", target_new="Marovia")
        [stored] = memory.add([fact], namespace="ours")
        transport = Scripted(SCRIPT).transport()
        with memedit.MultiHopAgent.open(
            memory, settings=settings, method=Mello(), transport=transport
        ) as agent:
            trace = agent.ask("Where is it?")
        assert trace.edits == (stored.ref,)
        assert memory.get(stored.id)  # still open


def test_open_takes_the_agents_settings_where_nothing_else_is_said(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memedit.scope.encoder.open_encoder", lambda settings: encoder)
    said = {
        "method": "mello",
        "demonstrations": "none",
        "max_hops": 2,
        "max_tokens": 7,
        "chat": True,
    }
    settings = Settings(agent=said)  # type: ignore[arg-type]
    with memedit.open_memory("sqlite://", settings) as memory:
        agent = memedit.MultiHopAgent.open(memory, settings=settings)
        assert isinstance(agent.method, Mello)
        assert (agent.method.demonstrations, agent.method.max_hops) == ("", 2)
        assert (agent.endpoint.max_tokens, agent.endpoint.surface) == (7, Surface.CHAT)
        other = memedit.MultiHopAgent.open(
            memory, settings=settings, method="pokemqa", max_tokens=48, surface=Surface.COMPLETION
        )
        assert isinstance(other.method, Pokemqa) and other.method.demonstrations == ""
        assert (other.endpoint.max_tokens, other.endpoint.surface) == (48, Surface.COMPLETION)
        mine = Mello(max_hops=3)
        assert memedit.MultiHopAgent.open(memory, settings=settings, method=mine).method is mine


def test_lockstep_gives_what_one_by_one_gives() -> None:
    questions = ["Where is it?", "And where is it now?"]
    scripts = {question: Scripted(SCRIPT) for question in questions}
    batches: list[int] = []

    def complete(steps: Sequence[NeedUpstream]) -> list[UpstreamReply]:
        batches.append(len(steps))
        return [
            scripts[next(q for q in questions if f"\n\nQuestion: {q}" in _prompt(step))](step)
            for step in steps
        ]

    method = Mello()
    plans = [method.answer(question, Endpoint("m")) for question in questions]
    together = run_together(plans, router(MOVED), complete)
    alone = [
        run_sync(method.answer(q, Endpoint("m")), router(MOVED), Scripted(SCRIPT))
        for q in questions
    ]
    assert together == alone and batches == [2, 2]

    class Broken:
        def decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
            raise MemoryFailure("gone")

    scripts = {question: Scripted(SCRIPT) for question in questions}
    plans = [method.answer(question, Endpoint("m")) for question in questions]
    assert {trace.ended for trace in run_together(plans, Broken(), complete)} == {
        Ended.MEMORY_FAILED
    }


def _prompt(step: NeedUpstream) -> str:
    return str(json.loads(step.body)["prompt"])


def test_the_tool_finds_edits_and_never_raises_for_what_a_model_wrote() -> None:
    tool = EditLookup(router(MOVED))
    function = tool.definition["function"]
    assert function["parameters"]["required"] == ["question"] and function["name"]
    [fact] = json.loads(tool.call(json.dumps({"question": COUNTRY})))["facts"]
    assert (fact["answer"], fact["edit"], fact["scope"]) == ("Marovia", "e-bridge@1", "direct")
    assert json.loads(tool.call({"question": "How many legs has a spider?"})) == {"facts": []}
    for odd in ("", "{", "[]", '{"question": 7}', '{"question": " "}', "[" * 100_000, "null"):
        assert "expected" in json.loads(tool.call(odd))["error"]
    more = {"question": COUNTRY, "namespace": "elsewhere"}
    assert "no other argument" in json.loads(tool.call(more))["error"]
    assert mello().lookup_tool().call({"question": COUNTRY}) == tool.call({"question": COUNTRY})
    elsewhere = EditLookup(router(MOVED), Lookup(("elsewhere",)))
    assert json.loads(elsewhere.call({"question": COUNTRY})) == {"facts": []}
