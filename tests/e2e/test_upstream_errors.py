"""Errors: vLLM's own come through as they are; ours are clear, in the shape of each wire format."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from memedit.cli.processes import free_port
from tests.e2e.facts import CAPITAL, CAPITAL_QUESTION, UNRELATED
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, MESSAGES, MODEL, RESPONSES, WIRES, Wire, post, send

USER = [{"role": "user", "content": CAPITAL_QUESTION}]


def _bad_bodies() -> Iterator[tuple[str, Wire, Any]]:
    for wire in WIRES:
        good = wire.body(CAPITAL_QUESTION, tokens=2)
        field = next(key for key in good if key in {"messages", "prompt", "input"})
        yield "unknown model", wire, good | {"model": "no-such-model"}
        yield "model is a number", wire, good | {"model": 7}
        yield "no text", wire, {key: value for key, value in good.items() if key != field}
        yield "text is a number", wire, good | {field: 5}
        yield "text is null", wire, good | {field: None}
        yield "text is an object", wire, good | {field: {"a": CAPITAL_QUESTION}}
        yield "hot", wire, good | {"temperature": "hot"}
        yield "limit is a word", wire, good | {wire.limit: "many"}
        yield "negative limit", wire, good | {wire.limit: -1}
        yield "stream is a word", wire, good | {"stream": "perhaps"}
        yield "too long", wire, wire.body("word " * 20_000, tokens=2)
        yield "too long, streamed", wire, wire.body("word " * 20_000, tokens=2, stream=True)
        yield "malformed", wire, b'{"model": "atlas", '
        yield "not an object", wire, b'["a"]'
        yield "null", wire, b"null"
        yield "no JSON", wire, b"hello"
        yield "empty", wire, b""
        yield "not UTF-8", wire, b'{"model":"atlas","prompt":"\xff"}'
        yield "deep", wire, b'{"model":"atlas","prompt":' + b"[" * 3000 + b"]" * 3000 + b"}"
    yield "messages are strings", CHAT, CHAT.body("") | {"messages": ["a"]}
    yield "no messages", CHAT, CHAT.body("") | {"messages": []}
    yield "no role", CHAT, CHAT.body("") | {"messages": [{"content": CAPITAL_QUESTION}]}
    yield "strange role", CHAT, CHAT.body("") | {"messages": [{"role": 3, "content": "x"}]}
    yield (
        "content is a number",
        CHAT,
        CHAT.body("") | {"messages": [{"role": "user", "content": 7}]},
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    yield "image", CHAT, CHAT.body("") | {"messages": [{"role": "user", "content": [image]}]}
    yield "no prompts", COMPLETIONS, COMPLETIONS.body("") | {"prompt": []}
    yield "mixed", COMPLETIONS, COMPLETIONS.body("") | {"prompt": [[5, 6], "x"]}
    yield "negative id", COMPLETIONS, COMPLETIONS.body("") | {"prompt": [5, -1]}
    yield "id too large", COMPLETIONS, COMPLETIONS.body("") | {"prompt": [5, 99_999_999]}
    yield "empty prompt", COMPLETIONS, COMPLETIONS.body("")
    yield "no limit", MESSAGES, {"model": MODEL, "messages": USER}
    yield "unknown response", RESPONSES, RESPONSES.body("x") | {"previous_response_id": "resp_no"}


BAD = list(_bad_bodies())


@pytest.mark.parametrize(
    ("wire", "body"), [bad[1:] for bad in BAD], ids=[f"{bad[1].name}-{bad[0]}" for bad in BAD]
)
def test_errors_of_vllm_come_through_as_they_are(
    wire: Wire, body: Any, vllm: Vllm, proxy: Proxy
) -> None:
    proxy.add(CAPITAL, namespace="errors") if not _has_edits(proxy) else None
    direct = post(vllm.url, wire.path, body)
    proxied = post(proxy.url, wire.path, body, x_memedit_namespace="errors")
    assert direct.status >= 400, direct.body
    assert (proxied.status, proxied.body) == (direct.status, direct.body)
    assert proxied.headers["content-type"] == direct.headers["content-type"]


def _has_edits(proxy: Proxy) -> bool:
    return bool(proxy.api("GET", "/edits?namespace=errors").json()["edits"])


def test_the_wrong_content_type_is_the_upstreams_affair(vllm: Vllm, proxy: Proxy) -> None:
    body = json.dumps(CHAT.body(UNRELATED[0], tokens=1)).encode()
    headers = {"content-type": "text/plain"}
    direct = send(vllm.url, "POST", CHAT.path, body, headers)
    proxied = send(proxy.url, "POST", CHAT.path, body, headers)
    assert direct.status == 400
    assert (proxied.status, proxied.body) == (direct.status, direct.body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("GET", "/version", None),
        ("GET", "/health", None),
        ("GET", "/ping", None),
        ("GET", "/openapi.json", None),
        ("POST", "/tokenize", {"model": MODEL, "prompt": "Hello there"}),
        ("POST", "/detokenize", {"model": MODEL, "tokens": [5, 6, 7]}),
        ("POST", "/v1/messages/count_tokens", {"model": MODEL, "messages": USER}),
        ("GET", "/v1/responses/resp_none", None),
        ("POST", "/v1/responses/resp_none/cancel", {}),
        ("POST", "/v1/embeddings", {"model": MODEL, "input": "x"}),
        ("POST", "/v1/chat/completions/render", {"model": MODEL, "messages": USER}),
        ("GET", "/v1/chat/completions", None),
        ("GET", "/v1/nothing/here?a=%20b&c", None),
    ],
)
def test_the_rest_of_the_public_surface_is_vllms_own(
    method: str, path: str, body: Any, vllm: Vllm, proxy: Proxy
) -> None:
    direct = send(vllm.url, method, path, body)
    proxied = send(proxy.url, method, path, body)
    assert (proxied.status, _timeless(proxied.body)) == (direct.status, _timeless(direct.body))


def _timeless(body: bytes) -> Any:
    """Leave out what vLLM makes up anew at every call."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    for model in value.get("data", ()):
        model.pop("created", None), model.pop("permission", None)
    return value


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/x"),
        ("POST", "/invocations"),
        ("POST", "/scale_elastic_ep"),
        ("POST", "/collective_rpc"),
        ("POST", "/reset_prefix_cache"),
        ("POST", "/pause"),
        ("POST", "/sleep"),
        ("POST", "/v1/../pause"),
        ("POST", "/%70ause"),
        ("POST", "//invocations"),
    ],
)
def test_admin_routes_are_not_forwarded(method: str, path: str, proxy: Proxy, relay: Relay) -> None:
    before = len(relay.exchanges)
    answer = send(proxy.url, method, path, {"model": MODEL, "messages": USER})
    assert answer.status in {400, 403, 404, 405}
    assert b"error" in answer.body
    assert len(relay.exchanges) == before


def _error_of(wire: Wire, body: bytes) -> dict[str, Any]:
    reply = json.loads(body)
    if wire is MESSAGES:
        assert reply["type"] == "error"
    error: dict[str, Any] = reply["error"]
    assert error["message"]
    assert error["type"]
    return error


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("question", [CAPITAL_QUESTION, UNRELATED[0]], ids=["touched", "untouched"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_an_upstream_that_is_down(wire: Wire, question: str, stream: bool, lonely: Proxy) -> None:
    answer = post(lonely.url, wire.path, wire.body(question, tokens=2, stream=stream))
    assert answer.status in {502, 503}
    assert answer.headers["content-type"].startswith("application/json")
    assert "upstream" in _error_of(wire, answer.body)["message"]


def test_edits_are_taken_while_the_upstream_is_down(lonely: Proxy) -> None:
    assert send(lonely.url, "GET", "/healthz").status == 200
    assert send(lonely.url, "GET", "/readyz").status == 503
    [edit] = lonely.add(CAPITAL, namespace="later")
    assert lonely.api("GET", f"/edits/{edit}").json()["namespace"] == "later"


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose upstream is not there."""
    folder = tmp_path_factory.mktemp("lonely")
    with Proxy(folder, f"http://127.0.0.1:{free_port()}", ready="/healthz") as proxy:
        proxy.add(CAPITAL)
        yield proxy


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_an_upstream_that_never_answers(wire: Wire, patient: Proxy) -> None:
    answer = post(patient.url, wire.path, wire.body(UNRELATED[0], tokens=2))
    assert answer.status == 504
    assert "upstream" in _error_of(wire, answer.body)["message"]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose upstream takes every connection and says nothing."""
    folder = tmp_path_factory.mktemp("patient")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        short = {"SERVE__READ_TIMEOUT": "1"}
        with Proxy(folder, url, ready="/healthz", settings=short) as proxy:
            yield proxy


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_an_answer_that_is_cut_in_the_middle_does_not_look_whole(
    wire: Wire, vllm: Vllm, tmp_path: Path
) -> None:
    """The client sees a broken connection, as it would without the proxy, or an error event."""
    with Relay(vllm.port) as relay, Proxy(tmp_path, relay.url) as proxy:
        relay.cut_after = 400
        body = json.dumps(wire.body(UNRELATED[1], tokens=20, stream=True))
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=120)
        broken = False
        with contextlib.closing(connection):
            connection.request("POST", wire.path, body, {"content-type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 200
            with contextlib.closing(reply):
                try:
                    got = reply.read()
                except (http.client.IncompleteRead, ConnectionError) as error:
                    broken, got = True, getattr(error, "partial", b"")
        assert got.startswith((b"data:", b"event:"))
        ends = (b"[DONE]", b"response.completed", b"message_stop")
        assert not any(end in got for end in ends)
        assert broken or b"error" in got
        # The proxy itself is none the worse.
        relay.cut_after = None
        assert wire.ask(proxy.url, UNRELATED[2], tokens=1)[1].status == 200


def test_the_openai_sdk_reads_our_errors(lonely: Proxy) -> None:
    url = f"{lonely.url}/v1"
    with (
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="upstream"),
    ):
        client.responses.create(model=MODEL, input=CAPITAL_QUESTION)
