"""SERAC under the official SDK, without a proxy, with two models behind one transport."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

import memedit
from memedit.config import Settings
from memedit.errors import SettingsError
from memedit.memory import EditMemory
from tests.client.conftest import ASKED, CAPITAL, UNRELATED

CHAT: dict[str, Any] = {"model": "big", "messages": [{"role": "user", "content": ASKED}]}


class TwoModels:
    """Answers under two host names; ``small`` with what it is told to."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[str, Any, str | None]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        self.asked.append((request.url.host, body, request.headers.get("authorization")))
        text = f"by {request.url.host}"
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"]}
        if request.url.host == "small.test" and self.status == 0:
            raise httpx2.ConnectError("not there")
        if request.url.host == "small.test" and self.status != 200:
            return httpx2.Response(self.status, json={"error": {"message": "no"}})
        if body.get("stream"):
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            event = json.dumps({**whole, "choices": [choice]})
            kind = {"content-type": "text/event-stream"}
            content = f"data: {event}\n\ndata: [DONE]\n\n".encode()
            return httpx2.Response(200, headers=kind, content=content)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return httpx2.Response(200, json={**whole, "choices": [choice | {"finish_reason": "stop"}]})


def settings(**serac: Any) -> Settings:
    chosen = {"url": "http://small.test/v1", "api_key": "its-own"} | serac
    return Settings.read(flags={"routing": {"direct": "serac"}, "serac": chosen})


def ask(memory: EditMemory, models: TwoModels, **fields: Any) -> Any:
    transport = httpx2.MockTransport(models)
    with (
        memedit.http_client(memory, settings=settings(), transport=transport) as http,
        openai.OpenAI(base_url="http://big.test/v1", api_key="k", http_client=http) as sdk,
    ):
        return sdk.chat.completions.with_raw_response.create(**(CHAT | fields))


def test_the_small_model_answers_what_an_edit_answers(memory: EditMemory) -> None:
    [edit] = memory.add([CAPITAL])
    models = TwoModels()
    reply = ask(memory, models)
    assert reply.parse().choices[0].message.content == "by small.test"
    assert reply.headers["x-memedit-route"] == "counterfactual"
    assert reply.headers["x-memedit-edits"] == edit.ref
    [(host, body, key)] = models.asked
    assert (host, body["model"], key) == ("small.test", "serac", "Bearer its-own")
    assert body["messages"][0]["content"] == f"The capital of Quendoria is Lindhaven\n{ASKED}"
    other = ask(memory, models, messages=[{"role": "user", "content": UNRELATED}])
    assert other.headers["x-memedit-route"] == "pass"
    assert models.asked[-1][0] == "big.test" and models.asked[-1][2] == "Bearer k"


def test_streams_too(memory: EditMemory) -> None:
    memory.add([CAPITAL])
    pieces = list(ask(memory, TwoModels(), stream=True).parse())
    assert "".join(one.choices[0].delta.content for one in pieces) == "by small.test"


@pytest.mark.parametrize(("status", "why"), [(503, "status-503"), (0, "upstream-unreachable")])
def test_else_the_edit_goes_into_the_context(memory: EditMemory, status: int, why: str) -> None:
    memory.add([CAPITAL])
    models = TwoModels(status)
    reply = ask(memory, models)
    assert reply.parse().choices[0].message.content == "by big.test"
    assert reply.headers["x-memedit-note"] == f"serac-failed:{why}"
    assert "Lindhaven" in models.asked[-1][1]["messages"][0]["content"]


async def _asynchronously(memory: EditMemory, models: TwoModels) -> Any:
    transport = httpx2.MockTransport(models)
    http = memedit.async_http_client(memory, settings=settings(), transport=transport)
    async with openai.AsyncOpenAI(
        base_url="http://big.test/v1", api_key="k", http_client=http
    ) as sdk:
        return await sdk.chat.completions.with_raw_response.create(**CHAT)


@pytest.mark.parametrize(("status", "host"), [(200, "small.test"), (503, "big.test")])
def test_and_asynchronously(memory: EditMemory, status: int, host: str) -> None:
    import asyncio

    memory.add([CAPITAL])
    reply = asyncio.run(_asynchronously(memory, TwoModels(status)))
    assert reply.parse().choices[0].message.content == f"by {host}"


def test_a_server_has_to_be_named(memory: EditMemory) -> None:
    with pytest.raises(SettingsError, match=r"serac\.url"):
        memedit.http_client(memory, settings=settings(url=None))
