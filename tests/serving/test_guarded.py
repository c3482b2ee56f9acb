"""A model that disobeys: what was erased does not leave the proxy, whole or streamed."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from memedit.memory import EditMemory
from memedit.types import EditRequest, Operation
from tests.routing.guarding import PATHS, read, shown, streamed, whole
from tests.serving.raw_client import RawClient
from tests.serving.raw_upstream import RawUpstream, Received, chunked
from tests.serving.raw_upstream import whole as answering
from tests.serving.served import Served
from tests.serving.test_streams import EVENT_STREAM, metrics

ASKED = "The code of Vault 9 is"
SAFE = "I don't know."
ERASED = EditRequest(
    prompt=ASKED,
    subject="Vault 9",
    target_new=SAFE,
    ground_truth="Lindhaven",
    operation=Operation.ERASE,
)
every = pytest.mark.parametrize("wire", PATHS)


def asking(wire: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": ASKED}]
    field: dict[str, Any] = {
        "chat": {"messages": turns},
        "completions": {"prompt": ASKED},
        "responses": {"input": ASKED},
        "messages": {"messages": turns, "max_tokens": 9},
    }[wire]
    return {"model": "m", **field, **more}


@every
@pytest.mark.parametrize("text", ["It is Velden.", "It is L-I-N-D-H-A-V-E-N."])
def test_whole_answers(
    proxy: Served, upstream: RawUpstream, memory: EditMemory, wire: str, text: str
) -> None:
    memory.add([ERASED])
    body = json.dumps(whole(wire, text)).encode()
    upstream.default = answering(body)
    got = proxy.post(PATHS[wire], asking(wire), accept_encoding="gzip")
    assert upstream.last().header(b"accept-encoding") == b"identity"
    told = "L-I-N-D" in text
    assert got.header("x-memedit-guard") == ("withheld" if told else "clear")
    assert int(got.header("content-length") or 0) == len(got.body)
    assert (got.body == body) is not told
    assert (SAFE in json.dumps(got.json)) is told and b"L-I-N-D" not in got.body
    outcome = "withheld" if told else "clear"
    assert f'memedit_guarded_answers_total{{outcome="{outcome}"}} 1.0' in metrics(proxy)


@every
def test_streams(proxy: Served, upstream: RawUpstream, memory: EditMemory, wire: str) -> None:
    memory.add([ERASED])
    events = streamed(wire, ["It is ", "Vel", "den"])
    upstream.default = chunked(events, EVENT_STREAM)
    got = proxy.post(PATHS[wire], asking(wire, stream=True))
    assert got.body == b"".join(events)
    assert got.header("x-memedit-guard") == "watching"
    upstream.default = chunked(
        streamed(wire, ["It is ", "Lin", "d", "haven", " and"]), EVENT_STREAM
    )
    got = proxy.post(PATHS[wire], asking(wire, stream=True))
    assert shown(wire, read(got.body)) == f"It is {SAFE}"
    assert b"haven" not in got.body
    assert 'memedit_guarded_answers_total{outcome="withheld"} 1.0' in metrics(proxy)


@every
def test_a_model_that_told_is_not_listened_to_any_longer(
    proxy: Served, upstream: RawUpstream, memory: EditMemory, wire: str
) -> None:
    memory.add([ERASED])
    events = streamed(wire, ["Lindhaven"])

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + EVENT_STREAM[0])
        writer.write(b"\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in events[:-1]:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(30)

    upstream.default = script
    got = proxy.post(PATHS[wire], asking(wire, stream=True))
    assert SAFE in shown(wire, read(got.body))
    assert upstream.last().aborted.wait(5)


def test_no_other_answer_is_watched(
    proxy: Served, upstream: RawUpstream, memory: EditMemory
) -> None:
    memory.add([ERASED])
    body = json.dumps(whole("chat", "Lindhaven")).encode()
    upstream.default = answering(body)
    other = {"messages": [{"role": "user", "content": "How many moons circle a gas giant"}]}
    got = proxy.post(PATHS["chat"], other, accept_encoding="gzip")
    assert got.body == body and got.header("x-memedit-guard") is None
    assert upstream.last().header(b"accept-encoding") == b"gzip"
    assert "memedit_guarded_answers_total{" not in metrics(proxy)


def test_errors_of_the_upstream_pass_as_they_are(
    proxy: Served, upstream: RawUpstream, memory: EditMemory
) -> None:
    memory.add([ERASED])
    upstream.default = answering(b'{"error":{"message":"no"}}', b"400 Bad Request")
    got = proxy.post(PATHS["chat"], asking("chat"))
    assert (got.status, got.body) == (400, b'{"error":{"message":"no"}}')


def test_an_answer_that_cannot_be_read_does_not_pass(
    proxy: Served, upstream: RawUpstream, memory: EditMemory
) -> None:
    memory.add([ERASED])
    kind = (b"content-type: application/json", b"content-encoding: gzip")
    upstream.default = answering(gzip.compress(b'{"choices":[]}'), headers=kind)
    got = proxy.post(PATHS["chat"], asking("chat"))
    assert got.status == 502 and got.json["error"]["code"] == "answer_unreadable"


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_breaks_off_keeps_what_was_held_back(
    proxy: Served, upstream: RawUpstream, memory: EditMemory, stream: bool
) -> None:
    memory.add([ERASED])
    kind = EVENT_STREAM if stream else [b"content-type: application/json"]
    events = streamed("chat", ["It is ", "Lindhav"])[:3]
    upstream.default = chunked(events, kind, end=False)
    with RawClient(proxy.port) as client:
        client.post(b"/v1/chat/completions", json.dumps(asking("chat")).encode())
        got = client.until(b"}}") if not stream else client.rest()
    assert b"Lindhav" not in got
    assert (b"It is " in got) is stream
    assert got.startswith(b"HTTP/1.1 200" if stream else b"HTTP/1.1 502")
