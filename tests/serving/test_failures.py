"""An upstream that is down, slow or broken, and a memory that fails."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from memedit.errors import MemoryFailure
from memedit.memory import EditMemory
from tests.serving.parts import ASKED, ATLANTIS, chat
from tests.serving.raw_client import RawClient
from tests.serving.raw_upstream import RawUpstream, Received, whole
from tests.serving.served import Answer, Serve

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": chat(ASKED),
    "/v1/completions": {"prompt": [ASKED]},
    "/v1/responses": {"input": ASKED},
    "/v1/messages": {"messages": [{"role": "user", "content": ASKED}], "max_tokens": 5},
}
everywhere = pytest.mark.parametrize("path", BODIES)


def assert_error(answer: Answer, path: str, status: int, code: str) -> str:
    """Check that an error has its API's own shape; return the message."""
    assert answer.status == status
    assert answer.header("content-type") == "application/json"
    said = answer.json
    if path.startswith("/v1/messages"):
        assert said["type"] == "error"
        assert isinstance(said["error"]["type"], str)
    else:
        assert said["error"]["code"] == code
        assert set(said["error"]) == {"message", "type", "param", "code"}
    if path in BODIES:
        # whatever was decided, no edit was applied
        assert answer.header("x-memedit-route") == "refuse"
        assert answer.header("x-memedit-reason") == code
        assert answer.header("x-memedit-edits") is None
    message = said["error"]["message"]
    assert isinstance(message, str)
    return message


@pytest.fixture
def nobody() -> str:
    """Return the URL of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def deaf() -> Iterator[str]:
    """Yield the URL of a port whose queue of connections is full: none is ever made."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("path", [*BODIES, "/v1/embeddings", "/v1/messages/count_tokens"])
def test_an_upstream_that_is_down_is_a_502(serve: Serve, nobody: str, path: str) -> None:
    answer = serve(upstream=nobody).post(path, BODIES.get(path, {}))
    message = assert_error(answer, path, 502, "upstream_unreachable")
    assert "serve.upstream" in message
    assert nobody.rpartition(":")[2] not in message


@everywhere
def test_an_upstream_that_takes_no_connection_is_a_504(serve: Serve, deaf: str, path: str) -> None:
    answer = serve(upstream=deaf, connect_timeout=0.3).post(path, BODIES[path])
    assert "connect_timeout" in assert_error(answer, path, 504, "upstream_timeout")


@everywhere
def test_an_upstream_that_does_not_answer_is_a_504(
    serve: Serve, upstream: RawUpstream, path: str
) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    upstream.default = script
    answer = serve(read_timeout=0.3).post(path, BODIES[path])
    assert "read_timeout" in assert_error(answer, path, 504, "upstream_timeout")
    assert upstream.last().aborted.wait(5)


@everywhere
@pytest.mark.parametrize("answer", [b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\ncont"])
def test_an_upstream_that_answers_no_http_is_a_502(
    serve: Serve, upstream: RawUpstream, path: str, answer: bytes
) -> None:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    upstream.default = script
    assert_error(serve().post(path, BODIES[path]), path, 502, "upstream_error")
    assert len(upstream.requests) == 1, "a request that was sent must not be sent again"


@everywhere
def test_the_upstreams_own_errors_pass_as_they_are(
    serve: Serve, upstream: RawUpstream, path: str
) -> None:
    said = b'{"error":{"message":"This model\'s maximum context length is 16 tokens"}}'
    upstream.default = whole(said, b"400 Bad Request")
    answer = serve().post(path, BODIES[path])
    assert (answer.status, answer.body) == (400, said)
    assert answer.header("x-memedit-route") == "pass"


@everywhere
@pytest.mark.parametrize("failure", [MemoryFailure("disk"), OSError("disk"), KeyError("prompt")])
def test_a_memory_that_fails_lets_pass_and_says_so_when_open(
    serve: Serve,
    upstream: RawUpstream,
    memory: EditMemory,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    failure: Exception,
) -> None:
    memory.add([ATLANTIS])
    break_memory(memory, monkeypatch, failure)
    proxy = serve()
    answer = proxy.post(path, BODIES[path])
    assert answer.status == 200
    assert answer.header("x-memedit-route") == "pass"
    assert answer.header("x-memedit-reason") == "memory_failed"
    assert upstream.last().body == json.dumps(BODIES[path]).encode()
    metrics = proxy.ask("GET", "/metrics").body.decode()
    assert "memedit_memory_failures_total 1.0" in metrics


@everywhere
def test_a_memory_that_fails_is_a_503_when_closed(
    serve: Serve,
    upstream: RawUpstream,
    memory: EditMemory,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    memory.add([ATLANTIS])
    proxy = serve(on_memory_failure="closed")
    assert proxy.post(path, BODIES[path]).header("x-memedit-route") == "in_context"
    sent = len(upstream.requests)
    with monkeypatch.context() as patch:
        break_memory(memory, patch, MemoryFailure("disk"))
        answer = proxy.post(path, BODIES[path])
        assert_error(answer, path, 503, "memory_unavailable")
        assert answer.header("x-memedit-reason") == "memory_unavailable"
        passing = proxy.ask(
            "POST",
            path,
            json.dumps(BODIES[path]).encode(),
            {"content-type": "application/json", "x-memedit-bypass": "1"},
        )
        assert passing.status == 200  # whoever bypasses the memory needs none
    assert len(upstream.requests) == sent + 1
    assert proxy.post(path, BODIES[path]).header("x-memedit-route") == "in_context"


def break_memory(memory: EditMemory, patch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    patch.setattr(memory, "refresh", fail)


@everywhere
def test_a_body_that_is_too_long_is_a_413(serve: Serve, upstream: RawUpstream, path: str) -> None:
    proxy = serve(max_body_bytes=1_000)
    assert proxy.post(path, {"prompt": "x" * 900}).status == 200
    answer = proxy.post(path, {"prompt": "x" * 1_000})
    assert "max_body_bytes" in assert_error(answer, path, 413, "body_too_large")
    assert answer.header("connection") == "close"
    with RawClient(proxy.port) as client:  # of unannounced length
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % path.encode()
        client.send(head + b"3e9\r\n" + b"x" * 1_001 + b"\r\n")
        assert client.until(b"\r\n").startswith(b"HTTP/1.1 413")
    assert len(upstream.requests) == 1


@everywhere
@pytest.mark.parametrize(
    "header", ["x-memedit-threshold", "x-memedit-bypass", "x-memedit-namespace"]
)
def test_a_header_of_ours_that_makes_no_sense_is_a_400(
    serve: Serve, upstream: RawUpstream, path: str, header: str
) -> None:
    answer = serve().ask("POST", path, b"{}", {header: "?!"})
    assert header in assert_error(answer, path, 400, "invalid_input")
    assert upstream.requests == []


def test_websockets_and_odd_methods_are_refused_clearly(
    serve: Serve, upstream: RawUpstream
) -> None:
    proxy = serve()
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    answer = proxy.ask("GET", "/v1/realtime", None, upgrade)
    assert "WebSocket" in assert_error(answer, "/v1/realtime", 501, "not_supported")
    assert proxy.ask("TRACE", "/v1/models").status == 501
    assert upstream.requests == []


@pytest.mark.parametrize(
    "target",
    ["/v1/load_lora_adapter", "/pause", "/v1/../pause", "//pause", "/%70ause", "/PAUSE", "/pause/"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_admin_routes_are_not_there(
    serve: Serve, upstream: RawUpstream, target: str, method: str
) -> None:
    answer = serve(forward=("/pause",)).ask(method, target, b"{}")
    assert answer.status in (400, 404)
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    assert upstream.requests == []
