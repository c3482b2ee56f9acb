"""What no edit concerns reaches vLLM byte for byte, and its answer comes back byte for byte."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.facts import CAPITAL, CAPITAL_QUESTION, UNRELATED
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy
from tests.e2e.wires import CHAT, COMPLETIONS, MESSAGES, MODEL, RESPONSES, WIRES, Wire, post

REQUESTS = 500


def _spellings() -> tuple[Callable[[Any], bytes], ...]:
    """Ways to write the same JSON that a careless proxy would not keep."""
    return (
        lambda body: json.dumps(body).encode(),
        lambda body: json.dumps(body, separators=(",", ":")).encode(),
        lambda body: json.dumps(body, indent=3, ensure_ascii=False).encode() + b"\r\n",
        lambda body: json.dumps(body, sort_keys=True, ensure_ascii=False).encode(),
        lambda body: b" \t" + json.dumps(body).replace('": ', '" :\t').encode() + b"\n\n",
        lambda body: json.dumps(body).replace('"temperature": 0', '"temperature": 0.0e+0').encode(),
        lambda body: b'{"x-first": 1, "x-first": 2.50, ' + json.dumps(body).encode()[1:],
        lambda body: json.dumps(body).replace('"model"', '"mod\\u0065l"').encode(),
    )


def _question(rng: random.Random, number: int) -> str:
    decoration = rng.choice(
        ("", " Grüße, 世界 🌍", ' "quoted" \\ /slash/', " <|im_end|> {{x}}", "\n\t")
    )
    return f"{rng.choice(UNRELATED)} ({number}){decoration}"


def _chat(rng: random.Random, question: str) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [{"role": "user", "content": question}]
    if rng.random() < 0.3:
        turns = [{"role": "system", "content": "Be brief."}, *turns]
    if rng.random() < 0.3:
        turns[-1]["content"] = [{"type": "text", "text": question}, {"type": "text", "text": "?"}]
    if rng.random() < 0.2:
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        turns += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ]
    return {"messages": turns}


def _completions(rng: random.Random, question: str) -> dict[str, Any]:
    prompts: tuple[Any, ...] = (
        question,
        [question, "The sea is"],
        [rng.randrange(5, 200) for _ in range(6)],
        [[rng.randrange(5, 200) for _ in range(4)], [7, 8, 9]],
    )
    return {"prompt": rng.choice(prompts)}


def _responses(rng: random.Random, question: str) -> dict[str, Any]:
    item = {"role": "user", "content": [{"type": "input_text", "text": question}]}
    body: dict[str, Any] = {"input": rng.choice((question, [item]))}
    return body | ({"instructions": "Be brief."} if rng.random() < 0.3 else {})


def _messages(rng: random.Random, question: str) -> dict[str, Any]:
    content = rng.choice((question, [{"type": "text", "text": question}]))
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    return body | ({"system": "Be brief."} if rng.random() < 0.3 else {})


_MAKERS: dict[str, Callable[[random.Random, str], dict[str, Any]]] = {
    CHAT.name: _chat,
    COMPLETIONS.name: _completions,
    RESPONSES.name: _responses,
    MESSAGES.name: _messages,
}


def _requests(seed: int) -> Iterator[tuple[Wire, bytes]]:
    rng = random.Random(seed)
    spellings = _spellings()
    for number in range(REQUESTS):
        wire = WIRES[number % len(WIRES)]
        body = {"model": MODEL, **_MAKERS[wire.name](rng, _question(rng, number)), wire.limit: 1}
        unknown = {"temperature": 0, "x-unknown": {"deep": [None, 1e-7]}}
        body |= rng.choice(({"temperature": 0}, unknown, {"seed": 1}))
        if rng.random() < 0.4:
            body["stream"] = True
        yield wire, rng.choice(spellings)(body)


def test_500_untouched_requests_cross_unchanged_both_ways(proxy: Proxy, relay: Relay) -> None:
    proxy.add(CAPITAL, namespace="bytes")
    requests = list(_requests(seed=7))

    def ask(number: int) -> tuple[int, bytes, str | None]:
        wire, body = requests[number]
        mark = {"x_mark": f"bytes-{number}", "x_memedit_namespace": "bytes"}
        answer = post(proxy.url, wire.path, body, **mark)
        return answer.status, answer.body, answer.route

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(REQUESTS)))
    crossed = relay.marked("x-mark")
    assert {status for status, _, _ in answers} == {200}
    assert {route for _, _, route in answers} == {"pass"}
    for number, ((_, sent), (status, got, _)) in enumerate(zip(requests, answers, strict=True)):
        exchange = crossed[f"bytes-{number}"]
        assert exchange.request.body == sent
        assert exchange.reply is not None
        assert (exchange.reply.start.split(" ")[1], exchange.reply.body) == (str(status), got)


def test_headers_cross_but_for_those_of_the_hop_and_our_own(
    proxy: Proxy, relay: Relay, mark: str
) -> None:
    given = {
        "x-mark": mark,
        "user-agent": "e2e/1",
        "accept": "application/json;q=0.9",
        "x-request-id": "r-1",
        "authorization": "Bearer of-the-client",
    }
    ours = {"x-memedit-namespace": "nothing-here", "x-memedit-detail": "1"}
    body = CHAT.body("Hello there", tokens=1)
    answer = post(proxy.url, CHAT.path, body, **{k.replace("-", "_"): v for k, v in given.items()})
    assert answer.status == 200
    post(
        proxy.url,
        CHAT.path,
        body,
        **{k.replace("-", "_"): v for k, v in (given | ours | {"x-mark": mark + "-2"}).items()},
    )
    crossed = relay.marked("x-mark")
    for name in (mark, mark + "-2"):
        headers = dict(crossed[name].request.headers)
        assert {key: headers.get(key) for key in given} == given | {"x-mark": name}
        assert not [key for key in headers if key.startswith("x-memedit")]
        assert headers["host"] == f"127.0.0.1:{relay.port}"
    reply = crossed[mark].reply
    assert reply is not None
    hop = {"transfer-encoding", "connection", "keep-alive"}
    upstream = {key: value for key, value in reply.headers if key not in hop}
    assert {key: answer.headers.get(key) for key in upstream} == upstream


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_a_bypassed_request_crosses_unchanged_though_an_edit_concerns_it(
    wire: Wire, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    body = json.dumps(wire.body(CAPITAL_QUESTION, tokens=1), indent=1).encode()
    headers = {"x_memedit_namespace": namespace}
    touched = post(proxy.url, wire.path, body, x_mark=mark, **headers)
    bypassed = post(proxy.url, wire.path, body, x_mark=mark + "-2", x_memedit_bypass="1", **headers)
    bodies = relay.bodies("x-mark")
    assert (touched.route, bypassed.route) == ("in_context", "pass")
    assert bypassed.headers["x-memedit-reason"] == "bypassed"
    assert bodies[mark] != body
    assert bodies[mark + "-2"] == body
