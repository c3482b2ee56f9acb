"""Answers that come in pieces, break off, or whose reader leaves."""

from __future__ import annotations

import asyncio
import time

import pytest

from memedit.memory import EditMemory
from memedit.routing import Router
from tests.serving.parts import ASKED, ATLANTIS, chat
from tests.serving.raw_client import RawClient
from tests.serving.raw_upstream import RawUpstream, Received, chunked
from tests.serving.served import Serve, Served

EVENT_STREAM = [b"content-type: text/event-stream; charset=utf-8"]
PATHS = [b"/v1/chat/completions", b"/v1/completions", b"/v1/responses", b"/v1/messages"]
BODIES = {
    b"/v1/chat/completions": b'{"stream":true,"messages":[{"role":"user","content":"%b"}]}',
    b"/v1/completions": b'{"stream":true,"prompt":"%b"}',
    b"/v1/responses": b'{"stream":true,"input":"%b"}',
    b"/v1/messages": b'{"stream":true,"messages":[{"role":"user","content":"%b"}]}',
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", [b"hello", ASKED.encode()])
def test_each_event_arrives_when_it_is_sent_not_later(
    proxy: Served, upstream: RawUpstream, memory: EditMemory, path: bytes, text: bytes
) -> None:
    memory.add([ATLANTIS])
    go_on = asyncio.Event()
    events = [b"data: %d\n\n" % n for n in range(5)] + [b": keep-alive\n\n", b"data: [DONE]\n\n"]
    loops = []

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        loops.append(asyncio.get_running_loop())
        writer.write(b"HTTP/1.1 200 OK\r\n" + EVENT_STREAM[0])
        writer.write(b"\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in events:
            # The next one is sent only when the client has seen the one before.
            await asyncio.wait_for(go_on.wait(), 10)
            go_on.clear()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    upstream.default = script
    with RawClient(proxy.port) as client:
        client.post(path, BODIES[path] % text)
        head = client.until(b"\r\n\r\n")  # before any event is out
        assert b"text/event-stream" in head
        touched = b"x-memedit-route: in_context" in head
        assert touched is (text != b"hello")
        for event in events:
            loops[0].call_soon_threadsafe(go_on.set)
            assert event in client.until(b"\n\n\r\n")
        assert client.until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("path", [*PATHS, b"/v1/embeddings"])
@pytest.mark.parametrize("before_first_byte", [True, False])
def test_a_client_that_leaves_takes_the_upstreams_request_with_it(
    proxy: Served, upstream: RawUpstream, path: bytes, before_first_byte: bool
) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        if not before_first_byte:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await asyncio.sleep(30)

    upstream.scripts[path] = script
    with RawClient(proxy.port) as client:
        client.post(path, b'{"stream":true}')
        if not before_first_byte:
            client.until(b"first")
        else:
            wait_until(lambda: bool(upstream.requests))
    assert upstream.last().aborted.wait(5)
    assert "memedit_clients_gone_total 1.0" in metrics(proxy)
    assert "memedit_requests_in_flight 1.0" in metrics(proxy)  # the one that asks


def test_a_client_that_leaves_while_the_decision_is_awaited_costs_no_upstream_request(
    proxy: Served, upstream: RawUpstream, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The proxy's batcher has bound `decide` already, so the slow part is put below it.
    entered = []

    def slow(*_: object) -> bool:
        entered.append(1)
        time.sleep(0.5)
        return False

    monkeypatch.setattr(router._memory, "refresh", slow)
    with RawClient(proxy.port) as client:
        client.post(b"/v1/completions", b'{"prompt":"x"}')
        wait_until(lambda: bool(entered))
    wait_until(lambda: "memedit_clients_gone_total 1.0" in metrics(proxy))
    time.sleep(0.6)
    assert not [r for r in upstream.requests if r.method == "POST"]


@pytest.mark.parametrize("path", [*PATHS, b"/v1/embeddings"])
def test_a_chunked_answer_that_breaks_off_does_not_look_complete(
    proxy: Served, upstream: RawUpstream, path: bytes
) -> None:
    upstream.scripts[path] = chunked([b"data: 1\n\n", b"data: 2\n\n"], EVENT_STREAM, end=False)
    with RawClient(proxy.port) as client:
        client.post(path, b"{}")
        got = client.rest()  # the connection ends, though the client would keep it
    assert b"data: 2\n\n" in got
    assert b"\r\n0\r\n" not in got
    assert 'memedit_upstream_errors_total{kind="upstream_cut"} 1.0' in metrics(proxy)


def test_an_answer_of_known_length_that_breaks_off_stays_short(
    proxy: Served, upstream: RawUpstream
) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
        await writer.drain()
        writer.close()

    upstream.default = script
    with RawClient(proxy.port) as client:
        client.post(b"/v1/completions", b"{}")
        head, _, body = client.rest().partition(b"\r\n\r\n")
    assert b"content-length: 100" in head
    assert body == b"only this"


def test_an_answer_that_stops_coming_is_broken_off(serve: Serve, upstream: RawUpstream) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await asyncio.sleep(30)

    upstream.default = script
    proxy = serve(read_timeout=0.3)
    with RawClient(proxy.port) as client:
        client.post(b"/v1/completions", b"{}")
        assert client.rest().endswith(b"first\r\n")


def test_an_error_in_mid_stream_passes_as_it_is(proxy: Served, upstream: RawUpstream) -> None:
    events = [b'data: {"choices":[]}\n\n', b'data: {"error":{"message":"x"}}\n\n']
    upstream.default = chunked(events, EVENT_STREAM)
    got = proxy.post("/v1/chat/completions", chat("hello", stream=True))
    assert got.body == b"".join(events)


def wait_until(done: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def metrics(proxy: Served) -> str:
    return proxy.ask("GET", "/metrics").body.decode()
