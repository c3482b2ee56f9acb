"""The official openai SDK with edits and no proxy: sync, async, streaming, and what passes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest

import memedit
from memedit.config import InContextSettings, Settings
from memedit.memory import EditMemory
from memedit.serving.app import create_app
from memedit.wiring import open_router
from tests.client.conftest import ASKED, CAPITAL, RIVER, UNRELATED
from tests.client.toy_model import ToyModel
from tests.live_server import LiveServer


@pytest.fixture
def sdk(memory: EditMemory, settings: Settings, upstream: str) -> Iterator[openai.OpenAI]:
    with (
        memedit.http_client(memory, settings=settings) as http,
        openai.OpenAI(
            base_url=f"{upstream}/v1", api_key="secret", http_client=http, max_retries=0
        ) as client,
    ):
        yield client


def ask(sdk: openai.OpenAI, text: str, **extra: object) -> str:
    reply = sdk.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": text}], extra_headers=extra
    )
    return reply.choices[0].message.content or ""


def test_the_edit_reaches_the_model_and_leaves_with_its_retraction(
    sdk: openai.OpenAI, memory: EditMemory
) -> None:
    assert ask(sdk, ASKED) == ASKED
    [edit] = memory.add([CAPITAL])
    seen = ask(sdk, ASKED)
    assert "Lindhaven" in seen and ASKED in seen
    assert ask(sdk, UNRELATED) == UNRELATED
    memory.retract(edit.id)
    assert ask(sdk, ASKED) == ASKED


@pytest.mark.parametrize(
    ("method", "written"),
    [
        ("ike", f"New Fact: The capital of Quendoria is Lindhaven.\nPrompt: {ASKED}"),
        (
            "memprompt",
            "The capital of Quendoria is\nCorrection: The capital of Quendoria is Lindhaven.\n\n"
            f"{ASKED}",
        ),
    ],
)
def test_every_method_of_the_settings_is_served_by_client_and_proxy(
    method: str,
    written: str,
    memory: EditMemory,
    settings: Settings,
    upstream: str,
    toy: ToyModel,
    serve: Callable[..., LiveServer],
) -> None:
    chosen = settings.model_copy(
        update={"incontext": InContextSettings(chat=method, demonstration_tokens=300)}
    )
    memory.add([CAPITAL])
    proxy = serve(create_app(chosen.serve, open_router(memory, chosen), memory))
    seen = []
    with memedit.http_client(memory, settings=chosen) as http:
        for base, client in ((upstream, http), (proxy.url, httpx2.Client())):
            with openai.OpenAI(base_url=f"{base}/v1", api_key="k", http_client=client) as sdk:
                create = sdk.chat.completions.with_raw_response.create
                raw = create(model="toy", messages=[{"role": "user", "content": ASKED}])
                assert raw.headers["x-memedit-method"] == method
                note = raw.headers.get("x-memedit-note")
                assert note == ("fewer-demonstrations" if method == "ike" else None)
                seen.append(raw.parse().choices[0].message.content or "")
                toy.received.clear()
                assert ask(sdk, UNRELATED) == UNRELATED
                assert len(toy.received) == 1, "what no edit concerns asks the upstream once"
    assert seen[0] == seen[1] and seen[0].endswith(written)
    assert seen[0].count("New Fact: ") > 3 or method != "ike"


def test_the_response_says_what_was_done(sdk: openai.OpenAI, memory: EditMemory) -> None:
    [edit] = memory.add([CAPITAL])
    create = sdk.chat.completions.with_raw_response.create
    raw = create(
        model="toy",
        messages=[{"role": "user", "content": ASKED}],
        extra_headers={"x-memedit-detail": "1"},
    )
    assert raw.headers["x-memedit-route"] == "in_context"
    assert raw.headers["x-memedit-edits"] == edit.ref
    [route] = json.loads(raw.headers["x-memedit-detail"])["routes"]
    assert route["considered"][0]["edit"] == edit.ref
    raw = create(model="toy", messages=[{"role": "user", "content": UNRELATED}])
    assert raw.headers["x-memedit-route"] == "pass"
    assert "x-memedit-edits" not in raw.headers


def test_streams_come_through_chunk_by_chunk(sdk: openai.OpenAI, memory: EditMemory) -> None:
    memory.add([CAPITAL])
    with sdk.chat.completions.create(
        model="toy", messages=[{"role": "user", "content": ASKED}], stream=True
    ) as stream:
        chunks = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert len(chunks) > 5
    assert "Lindhaven" in "".join(chunks)


def test_what_no_edit_concerns_goes_out_byte_for_byte(
    memory: EditMemory, settings: Settings, upstream: str, toy: ToyModel
) -> None:
    memory.add([CAPITAL])
    body = (
        b'{ "messages" : [ {"role":"user","content":"How many legs has a spid\\u0065r?"} ],'
        b' "model":"toy","odd":1.10, "odd":2 }'
    )
    with memedit.http_client(memory, settings=settings) as http:
        headers = {"content-type": "application/json", "x-memedit-detail": "true", "x-own": "1"}
        reply = http.post(f"{upstream}/v1/chat/completions", content=body, headers=headers)
        assert reply.status_code == 200
        http.get(f"{upstream}/v1/models?a=%20b")
    sent, listed = toy.received
    assert sent.body == body
    assert sent.headers["x-own"] == "1"
    assert not [name for name in sent.headers if name.startswith("x-memedit")]
    assert (listed.method, listed.path) == ("GET", "/v1/models")


def test_a_touched_body_has_its_own_length_and_keeps_its_fields(
    sdk: openai.OpenAI, memory: EditMemory, toy: ToyModel
) -> None:
    memory.add([CAPITAL])
    sdk.chat.completions.create(
        model="toy",
        messages=[{"role": "user", "content": ASKED}],
        seed=7,
        extra_body={"vllm_own_field": {"a": [1, 2]}},
    )
    [sent] = toy.received
    assert int(sent.headers["content-length"]) == len(sent.body)
    assert sent.json["vllm_own_field"] == {"a": [1, 2]}
    assert sent.json["seed"] == 7
    assert sent.headers["authorization"] == "Bearer secret"


def test_request_headers_bypass_and_choose_the_namespace(
    sdk: openai.OpenAI, memory: EditMemory
) -> None:
    memory.add([CAPITAL], namespace="tenant-a")
    assert ask(sdk, ASKED) == ASKED
    assert "Lindhaven" in ask(sdk, ASKED, **{"x-memedit-namespace": "tenant-a"})
    both = {"x-memedit-namespace": "tenant-a", "x-memedit-bypass": "1"}
    assert ask(sdk, ASKED, **both) == ASKED


def test_a_header_that_makes_no_sense_is_refused_as_the_api_would(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="x-memedit-threshold") as caught:
        ask(sdk, ASKED, **{"x-memedit-threshold": "2"})
    assert caught.value.code == "invalid_input"


def test_token_ids_are_read_by_the_upstreams_tokenizer(
    sdk: openai.OpenAI, memory: EditMemory, toy: ToyModel
) -> None:
    memory.add([CAPITAL])
    sdk.completions.create(model="toy", prompt=[ord(c) for c in CAPITAL.prompt])
    assert toy.received[0].path == "/detokenize"
    assert all(request.headers["authorization"] == "Bearer secret" for request in toy.received)
    seen = toy.received[-1].json["prompt"]
    assert "Lindhaven" in "".join(map(chr, seen))


def test_a_base_path_in_front_of_v1_is_kept(
    memory: EditMemory, settings: Settings, upstream: str, toy: ToyModel
) -> None:
    memory.add([CAPITAL])
    with memedit.http_client(memory, settings=settings) as http:
        sdk = openai.OpenAI(base_url=f"{upstream}/team/a/v1", api_key="x", http_client=http)
        assert "Lindhaven" in ask(sdk, ASKED)
        sdk.completions.create(model="toy", prompt=[ord(c) for c in CAPITAL.prompt])
    paths = [request.path for request in toy.received]
    assert paths[0] == "/team/a/v1/chat/completions"
    assert "/team/a/detokenize" in paths


def test_errors_of_the_upstream_pass_as_they_are(sdk: openai.OpenAI, toy: ToyModel) -> None:
    toy.fail_with = 422
    with pytest.raises(openai.UnprocessableEntityError, match="the toy broke"):
        ask(sdk, ASKED)


def test_an_upstream_that_is_down_is_the_sdks_own_error(
    memory: EditMemory, settings: Settings
) -> None:
    with memedit.http_client(memory, settings=settings) as http:
        sdk = openai.OpenAI(
            base_url="http://127.0.0.1:9/v1", api_key="x", http_client=http, max_retries=0
        )
        with pytest.raises(openai.APIConnectionError):
            ask(sdk, ASKED)


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_a_failing_memory_is_visible(
    policy: str, memory: EditMemory, settings: Settings, upstream: str, toy: ToyModel
) -> None:
    chosen = settings.model_copy(
        update={"serve": settings.serve.model_copy(update={"on_memory_failure": policy})}
    )
    memory.add([CAPITAL])
    with memedit.http_client(memory, settings=chosen) as http:
        memory.close()
        sdk = openai.OpenAI(base_url=f"{upstream}/v1", api_key="x", http_client=http, max_retries=0)
        create = sdk.chat.completions.with_raw_response.create
        if policy == "closed":
            with pytest.raises(openai.InternalServerError) as caught:
                create(model="toy", messages=[{"role": "user", "content": ASKED}])
            assert caught.value.status_code == 503
            assert toy.received == []
        else:
            raw = create(model="toy", messages=[{"role": "user", "content": ASKED}])
            assert raw.headers["x-memedit-reason"] == "memory_failed"


def test_another_process_adds_an_edit_and_the_next_request_has_it(
    database: str, settings: Settings, upstream: str, memory: EditMemory
) -> None:
    with memedit.http_client(database, settings=settings) as http:
        sdk = openai.OpenAI(base_url=f"{upstream}/v1", api_key="x", http_client=http)
        assert ask(sdk, ASKED) == ASKED
        memory.add([CAPITAL])
        assert "Lindhaven" in ask(sdk, ASKED)


def test_it_says_the_same_as_the_proxy(
    sdk: openai.OpenAI, proxy: LiveServer, memory: EditMemory, toy: ToyModel
) -> None:
    memory.add([CAPITAL, RIVER])
    through = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="secret")
    for text in (ASKED, UNRELATED, "And which river is the longest in Marovia?"):
        ask(sdk, text)
        ask(through, text)
        ours, theirs = toy.received[-2:]
        assert ours.body == theirs.body


def test_the_async_sdk_streams_and_asks_at_once(
    memory: EditMemory, settings: Settings, upstream: str
) -> None:
    memory.add([CAPITAL])

    async def talk() -> None:
        http = memedit.async_http_client(memory, settings=settings)
        async with openai.AsyncOpenAI(
            base_url=f"{upstream}/v1", api_key="x", http_client=http, max_retries=0
        ) as sdk:
            create = sdk.chat.completions.create
            replies = await asyncio.gather(
                *(
                    create(model="toy", messages=[{"role": "user", "content": text}])
                    for text in (ASKED, UNRELATED) * 4
                )
            )
            texts = [reply.choices[0].message.content or "" for reply in replies]
            assert ["Lindhaven" in text for text in texts] == [True, False] * 4
            stream = await create(
                model="toy", messages=[{"role": "user", "content": ASKED}], stream=True
            )
            words = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert len(words) > 5 and "Lindhaven" in "".join(words)
            await sdk.completions.create(model="toy", prompt=[ord(c) for c in CAPITAL.prompt])
            with pytest.raises(openai.BadRequestError):
                await create(
                    model="toy", messages=[], extra_headers={"x-memedit-bypass": "perhaps"}
                )

    asyncio.run(talk())


def test_an_async_decision_does_not_hold_up_the_event_loop(
    memory: EditMemory, settings: Settings, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memedit.routing import Router

    threads: set[int] = set()
    decide = Router.decide

    def noting(self: Router, queries: object) -> object:
        threads.add(threading.get_ident())
        return decide(self, queries)  # type: ignore[arg-type]

    monkeypatch.setattr(Router, "decide", noting)

    async def talk() -> None:
        async with memedit.async_http_client(memory, settings=settings) as http:
            await http.post(
                f"{upstream}/v1/chat/completions",
                json={"messages": [{"role": "user", "content": ASKED}]},
            )

    asyncio.run(talk())
    assert threads and threading.get_ident() not in threads


def test_a_memory_opened_here_is_closed_with_the_client_and_no_other(
    database: str, settings: Settings, memory: EditMemory
) -> None:
    memedit.http_client(memory, settings=settings).close()
    assert memory.add([CAPITAL])
    http = memedit.http_client(database, settings=settings)
    http.close()
    with pytest.raises(RuntimeError):
        http.get("http://127.0.0.1:9/")


def test_options_of_the_http_client_are_taken(memory: EditMemory, settings: Settings) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={})

    with memedit.http_client(
        memory,
        settings=settings,
        transport=httpx2.MockTransport(answer),
        base_url="http://model.test",
        headers={"x-a": "b"},
    ) as http:
        http.post("/v1/completions", json={"prompt": CAPITAL.prompt})
    assert seen[0].headers["x-a"] == "b"
    assert http.timeout.read == settings.serve.read_timeout
