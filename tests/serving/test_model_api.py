from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.types import EditRequest
from tests.serving.parts import ASKED, ATLANTIS, UNRELATED, chat
from tests.serving.raw_upstream import RawUpstream, Received, whole
from tests.serving.served import Serve, Served

STATEMENT = b"The capital of Atlantis is Nautilopolis."


@pytest.fixture(autouse=True)
def edited(memory: EditMemory) -> str:
    (edit,) = memory.add([ATLANTIS])
    return edit.ref


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(ASKED, temperature=0, unknown={"a": [1.50]})),
        ("/v1/completions", {"prompt": ASKED}),
        ("/v1/responses", {"input": ASKED, "instructions": "Be brief."}),
        ("/v1/messages", {"messages": [{"role": "user", "content": ASKED}], "max_tokens": 9}),
    ],
)
def test_an_edit_is_written_into_the_request_and_named_in_the_answer(
    proxy: Served, upstream: RawUpstream, edited: str, path: str, body: dict[str, Any]
) -> None:
    upstream.default = whole(b'{"answer":1}')
    got = proxy.post(path, body)
    sent = upstream.last().body
    assert STATEMENT in sent
    assert sent.replace(STATEMENT + b"\\n", b"") == json.dumps(body).encode()
    assert upstream.last().header(b"content-length") == str(len(sent)).encode()
    assert got.body == b'{"answer":1}'
    assert got.header("x-memedit-route") == "in_context"
    assert got.header("x-memedit-reason") == "in_scope"
    assert got.header("x-memedit-edits") == edited
    assert got.header("x-memedit-method") == "before"


def test_a_batch_is_routed_prompt_by_prompt(proxy: Served, upstream: RawUpstream) -> None:
    got = proxy.post("/v1/completions", {"prompt": [UNRELATED, ASKED]})
    first, second = json.loads(upstream.last().body)["prompt"]
    assert first == UNRELATED
    assert second == STATEMENT.decode() + "\n" + ASKED
    assert got.header("x-memedit-route") == "pass,in_context"


@pytest.mark.parametrize(
    ("headers", "route", "reason"),
    [
        ({"x-memedit-bypass": "1"}, "pass", "bypassed"),
        ({"x-memedit-threshold": "0.2"}, "in_context", "in_scope"),
        ({"x-memedit-namespace": "elsewhere"}, "pass", "no_edits"),
        ({"x-memedit-namespace": "elsewhere,default"}, "in_context", "in_scope"),
    ],
)
def test_a_request_says_how_it_wants_to_be_treated(
    proxy: Served, upstream: RawUpstream, headers: dict[str, str], route: str, reason: str
) -> None:
    kind = {"content-type": "application/json"}
    body = json.dumps(chat(ASKED)).encode()
    got = proxy.ask("POST", "/v1/chat/completions", body, kind | headers)
    assert (got.header("x-memedit-route"), got.header("x-memedit-reason")) == (route, reason)
    assert (upstream.last().body == body) is (route == "pass")


def test_an_operator_keeps_clients_from_going_round_the_edits(
    serve: Serve, upstream: RawUpstream, edited: str
) -> None:
    proxy = serve(client_headers=("detail",))
    kind = {"content-type": "application/json"}
    body = json.dumps(chat(ASKED)).encode()
    for name in ("bypass", "namespace", "threshold"):
        got = proxy.ask("POST", "/v1/chat/completions", body, {**kind, f"x-memedit-{name}": "1"})
        assert got.status == 403 and got.header("x-memedit-reason") == "header_not_allowed"
        assert f"x-memedit-{name}" in json.loads(got.body)["error"]["message"]
    assert all(
        STATEMENT not in one.body and ASKED.encode() not in one.body for one in upstream.requests
    )
    got = proxy.ask("POST", "/v1/chat/completions", body, {**kind, "x-memedit-detail": "1"})
    assert got.header("x-memedit-edits") == edited


def test_the_whole_decision_is_shown_on_request(proxy: Served, edited: str) -> None:
    headers = {"content-type": "application/json", "x-memedit-detail": "1"}
    body = json.dumps(chat(ASKED)).encode()
    got = proxy.ask("POST", "/v1/chat/completions", body, headers)
    detail = got.header("x-memedit-detail")
    assert detail is not None
    assert json.loads(detail)["routes"][0]["considered"][0]["edit"] == edited


def test_token_ids_are_read_by_the_upstreams_tokenizer_with_the_clients_key(
    proxy: Served, upstream: RawUpstream
) -> None:
    words = ASKED.split(" ")

    async def detokenize(request: Received, writer: asyncio.StreamWriter) -> None:
        ids = json.loads(request.body)["tokens"]
        text = " ".join(words[number] for number in ids)
        await whole(json.dumps({"prompt": text}).encode())(request, writer)

    async def tokenize(request: Received, writer: asyncio.StreamWriter) -> None:
        special = json.loads(request.body)["add_special_tokens"]
        await whole(json.dumps({"tokens": [] if special else [900, 901]}).encode())(request, writer)

    upstream.scripts = {b"/detokenize": detokenize, b"/tokenize": tokenize}
    body = b'{"prompt": [0, 1, 2, 3, 4, 5], "model": "m"}'
    headers = {"content-type": "application/json", "authorization": "Bearer client"}
    got = proxy.ask("POST", "/v1/completions", body, {**headers, "accept-encoding": "gzip"})
    assert got.header("x-memedit-route") == "in_context"
    assert json.loads(upstream.last(b"/v1/completions").body)["prompt"] == [900, 901, *range(6)]
    helper = upstream.last(b"/detokenize")
    assert helper.header(b"authorization") == b"Bearer client"
    assert helper.header(b"content-type") == b"application/json"
    assert helper.header(b"accept-encoding") is None
    assert json.loads(helper.body)["model"] == "m"


def test_a_long_body_is_read_and_changed_like_any_other(
    proxy: Served, upstream: RawUpstream
) -> None:
    body = chat(ASKED, padding="x" * 400_000)
    got = proxy.post("/v1/chat/completions", body)
    assert got.header("x-memedit-route") == "in_context"
    sent = upstream.last().body
    assert sent.replace(STATEMENT + b"\\n", b"") == json.dumps(body).encode()


def test_escapes_in_the_path_do_not_go_round_the_edits(
    proxy: Served, upstream: RawUpstream
) -> None:
    for path in ("/v1/chat/%63ompletions", "/v1/chat%2Fcompletions", "/v1//chat/completions"):
        assert proxy.post(path, chat(ASKED)).status == 400
    assert upstream.requests == []


def test_what_is_added_by_another_process_is_live_for_the_next_request(
    proxy: Served, upstream: RawUpstream, memory: EditMemory, router: Router, tmp_path: Any
) -> None:
    question = "Which fruit grows on the moon of Bluma?"
    assert proxy.post("/v1/completions", {"prompt": question}).header("x-memedit-route") == "pass"
    with EditMemory.open(f"sqlite:///{tmp_path}/edits.db", memory.encoder) as other:
        other.add([EditRequest(prompt=question, subject="Bluma", target_new="Cloudberries")])
    got = proxy.post("/v1/completions", {"prompt": question})
    assert got.header("x-memedit-route") == "in_context"
    assert b"Cloudberries" in upstream.last().body


def test_fifty_at_once_each_get_their_own_answer(
    proxy: Served, upstream: RawUpstream, edited: str
) -> None:
    async def echo(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await whole(request.body)(request, writer)

    upstream.default = echo

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        concerned = number % 2 == 0
        body = json.dumps({"n": number, "prompt": ASKED if concerned else UNRELATED}).encode()
        url = f"{proxy.url}/v1/completions"
        async with session.post(url, data=body) as answer:
            got = await answer.read()
            assert json.loads(got)["n"] == number
            assert (got == body) is not concerned
            assert (STATEMENT in got) is concerned
            assert answer.headers.get("x-memedit-edits") == (edited if concerned else None)

    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=50)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(3):
                await asyncio.gather(*(one(session, number) for number in range(50)))

    asyncio.run(main())
    assert len(upstream.requests) == 150
    page = proxy.ask("GET", "/metrics").body.decode()
    assert 'reason="in_scope",route="in_context",status="200",wire="completions"} 75.0' in page
    assert "memedit_edits_applied_total 75.0" in page
    sizes = [line for line in page.splitlines() if "batch_size_sum" in line]
    assert sizes == ["memedit_decision_batch_size_sum 150.0"]
