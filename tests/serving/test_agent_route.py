"""The agent behind the proxy: over real connections, with the client's own key, in time or not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import anyio
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from memedit.agent.answering import AgentAnswerer
from memedit.agent.pokemqa import Pokemqa
from memedit.config import ServeSettings
from memedit.memory import EditMemory
from memedit.routing import NeedUpstream, Router
from memedit.serving import create_app
from memedit.types import EditRequest, Surface
from tests.agent.chains import QUESTION, SCRIPT, ByHops
from tests.agent.scripted import Scripted
from tests.live_server import LiveServer
from tests.serving.parts import BeforeMethod
from tests.serving.served import Served

CAPITAL = EditRequest(prompt="The capital of France is", subject="France", target_new="Norwick")
PLAIN = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Anne."}}]}


class Upstream:
    """Goes on with transcripts by a script, and answers chats plainly."""

    def __init__(self, script: Sequence[Any]) -> None:
        self.scripted = Scripted(script)
        self.keys: list[str | None] = []
        self.ours: list[str] = []
        self.chats: list[Any] = []
        self.pause = 0.0

    async def answer(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization"))
        self.ours += [name for name in request.headers if name.startswith("x-memedit")]
        body = await request.body()
        if request.url.path == "/v1/chat/completions":
            self.chats.append(json.loads(body))
            return Response(json.dumps(PLAIN), media_type="application/json")
        await anyio.sleep(self.pause)
        reply = self.scripted(NeedUpstream(request.method, request.url.path, body))
        return Response(reply.body, reply.status, media_type="application/json")


Start = Callable[..., tuple[Served, Upstream]]


@pytest.fixture
def start(memory: EditMemory, serve_app: Callable[[Any], LiveServer]) -> Iterator[Start]:
    """Return a function that starts a proxy with an agent, in front of a script."""
    method: Any = ("before", BeforeMethod())
    router = Router(memory, ByHops(), {Surface.CHAT: method, Surface.COMPLETION: method})
    running: list[Served] = []

    def begin(script: Sequence[Any] = SCRIPT, timeout: float = 30.0) -> tuple[Served, Upstream]:
        upstream = Upstream(script)
        app = Starlette(routes=[Path("/{path:path}", upstream.answer, methods=["GET", "POST"])])
        settings = ServeSettings(upstream=serve_app(app).url)
        answerer = AgentAnswerer(Pokemqa(), timeout=timeout)
        running.append(Served(create_app(settings, router, memory, answerer=answerer)))
        return running[-1], upstream

    yield begin
    for proxy in running:
        proxy.stop()


@pytest.fixture
def serve_app() -> Iterator[Callable[[Any], LiveServer]]:
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(LiveServer(app))


def asked(**more: Any) -> dict[str, Any]:
    return {"model": "atlas", "messages": [{"role": "user", "content": QUESTION}], **more}


def test_the_agent_answers_in_the_place_of_the_model(start: Start, memory: EditMemory) -> None:
    [edit] = memory.add([CAPITAL])
    proxy, upstream = start()
    answer = proxy.post("/v1/chat/completions", asked(), authorization="Bearer own")
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "Petra"
    assert answer.header("x-memedit-route") == "agent"
    assert answer.header("x-memedit-edits") == edit.ref
    assert answer.header("content-length") == str(len(answer.body))
    assert upstream.chats == [] and len(upstream.scripted.bodies) == 5
    assert set(upstream.keys) == {"Bearer own"} and upstream.ours == []
    told = proxy.ask("GET", "/metrics").body.decode()
    labels = 'reason="in_scope",route="agent",status="200",wire="chat"'
    assert f"memedit_requests_total{{{labels}}} 1.0" in told
    assert "memedit_decision_seconds_count 0.0" in told


def test_the_official_sdk_reads_it_whole_and_streamed(start: Start, memory: EditMemory) -> None:
    memory.add([CAPITAL])
    proxy, _ = start([*SCRIPT, *SCRIPT, *SCRIPT])
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=0) as sdk:
        whole = sdk.chat.completions.create(**asked())
        assert whole.choices[0].message.content == "Petra" and whole.usage.total_tokens == 75
        options = {"include_usage": True}
        stream = sdk.chat.completions.create(**asked(stream=True, stream_options=options))
        chunks = list(stream)
        text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
        assert text == "Petra" and chunks[-1].usage.total_tokens == 75
        pieces = list(sdk.completions.create(model="atlas", prompt=QUESTION, stream=True))
        assert "".join(one.choices[0].text for one in pieces) == " Petra"


def test_a_question_that_takes_too_long_is_answered_in_context(
    start: Start, memory: EditMemory, caplog: pytest.LogCaptureFixture
) -> None:
    memory.add([CAPITAL])
    proxy, upstream = start(timeout=0.5)
    upstream.pause = 20.0
    begun = time.monotonic()
    with caplog.at_level("INFO", "memedit.serving.request"):
        answer = proxy.post("/v1/chat/completions", asked())
    assert time.monotonic() - begun < 15
    assert answer.header("x-memedit-route") == "in_context"
    assert answer.header("x-memedit-note") == "agent-failed:timeout"
    assert answer.json == PLAIN
    [sent] = upstream.chats
    assert "Norwick" in sent["messages"][0]["content"]
    [line] = [one for one in caplog.records if one.name == "memedit.serving.request"]
    assert line.fields["note"] == "agent-failed:timeout"  # type: ignore[attr-defined]


def test_retracting_brings_the_models_own_answer_back(start: Start, memory: EditMemory) -> None:
    [edit] = memory.add([CAPITAL])
    proxy, upstream = start()
    memory.retract(edit.id)
    answer = proxy.post("/v1/chat/completions", asked())
    assert answer.json == PLAIN and answer.header("x-memedit-reason") == "no_edits"
    assert upstream.chats == [asked()] and upstream.scripted.bodies == []


TURNS = [{"role": "user", "content": "Tell me of France."}, {"role": "user", "content": QUESTION}]


@pytest.mark.parametrize(
    ("messages", "route", "note"),
    [
        (asked()["messages"], "agent", None),
        (TURNS, "agent", None),
        (
            [*TURNS, {"role": "assistant", "content": "Well,"}],
            "in_context",
            "agent-unfit:continues",
        ),
        (
            [{"role": "user", "content": f"{'So. ' * 300}{QUESTION}"}],
            "in_context",
            "agent-unfit:long",
        ),
    ],
)
def test_what_is_foretold_without_asking_is_what_is_done(
    start: Start, memory: EditMemory, messages: Any, route: str, note: str | None
) -> None:
    memory.add([CAPITAL])
    proxy, upstream = start()
    [told] = proxy.post("/memedit/v1/route", {"messages": messages}).json["routes"]
    assert (told["action"], told["note"]) == (route, note)
    assert told["method"] == ("pokemqa" if route == "agent" else "before")
    assert upstream.chats == [] and upstream.scripted.bodies == []
    done = proxy.post("/v1/chat/completions", {"model": "atlas", "messages": messages})
    assert (done.header("x-memedit-route"), done.header("x-memedit-note")) == (route, note)


def test_texts_to_be_continued_are_foretold_too(start: Start, memory: EditMemory) -> None:
    memory.add([CAPITAL])
    proxy, _ = start()
    asking = {"prompts": [QUESTION, "How are you?"], "surface": "completion"}
    told = proxy.post("/memedit/v1/route", asking).json["routes"]
    assert [one["action"] for one in told] == ["agent", "pass"]
