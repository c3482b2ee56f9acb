"""The official SDK without a proxy, and a model that disobeys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx2
import openai
import pytest

import memedit
from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.types import Operation
from tests.client.conftest import ASKED, CAPITAL, UNRELATED
from tests.routing.guarding import streamed, whole

SAFE = "I don't know."
ERASED = CAPITAL.model_copy(update={"operation": Operation.ERASE, "target_new": SAFE})
TOLD = ["It is ", "Old", "castle", " there"]


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for event in streamed("chat", TOLD):
            self.sent += 1
            yield event

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in self:
            yield event


class Disobeying:
    """Tells it, whole or in pieces."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.pieces = Pieces()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if json.loads(request.content).get("stream"):
            kind = {"content-type": "text/event-stream"}
            return httpx2.Response(200, headers=kind, stream=self.pieces)
        return httpx2.Response(200, json=whole("chat", "".join(TOLD)))


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdk_gets_the_safe_sequence(
    memory: EditMemory, settings: Settings, stream: bool
) -> None:
    memory.add([ERASED])
    model = Disobeying()
    http = memedit.http_client(memory, settings=settings, transport=httpx2.MockTransport(model))
    with openai.OpenAI(base_url="http://model.test/v1", api_key="x", http_client=http) as sdk:
        create = sdk.chat.completions.with_raw_response.create
        raw = create(model="m", messages=[{"role": "user", "content": ASKED}], stream=stream)  # type: ignore[call-overload]
        assert raw.headers["x-memedit-guard"] == ("watching" if stream else "withheld")
        if stream:
            chunks = list(raw.parse())
            said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert said == f"It is {SAFE}" and chunks[-1].choices[0].finish_reason == "stop"
            assert model.pieces.sent < len(streamed("chat", TOLD))
        else:
            assert raw.parse().choices[0].message.content == SAFE
        raw = create(model="m", messages=[{"role": "user", "content": UNRELATED}])
        assert raw.parse().choices[0].message.content == "".join(TOLD)
        assert "x-memedit-guard" not in raw.headers
    assert model.requests[0].headers["accept-encoding"] == "identity"
    assert model.requests[1].headers["accept-encoding"] != "identity"


@pytest.mark.parametrize("stream", [False, True])
def test_the_async_sdk_too(memory: EditMemory, settings: Settings, stream: bool) -> None:
    memory.add([ERASED])

    async def talk() -> str:
        http = memedit.async_http_client(
            memory, settings=settings, transport=httpx2.MockTransport(Disobeying())
        )
        async with openai.AsyncOpenAI(
            base_url="http://model.test/v1", api_key="x", http_client=http
        ) as sdk:
            reply = await sdk.chat.completions.create(  # type: ignore[call-overload]
                model="m", messages=[{"role": "user", "content": ASKED}], stream=stream
            )
            if not stream:
                return str(reply.choices[0].message.content)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in reply])

    assert asyncio.run(talk()) == (f"It is {SAFE}" if stream else SAFE)
