from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

import memedit
from memedit.engine.app import create_engine_app
from memedit.engine.loading import LoadedModel
from memedit.errors import InvalidInputError
from tests.engine.conftest import NAME, PROMPTS, served


def test_what_it_says_of_itself(http: httpx2.Client) -> None:
    for path in ("/health", "/ping"):
        answer = http.get(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert http.get("/version").json() == {"version": memedit.__version__}
    listed = http.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [(card["id"], card["max_model_len"]) for card in listed["data"]] == [(NAME, 256)]
    assert http.get(f"/v1/models/{NAME}").json() == listed["data"][0]


@pytest.mark.parametrize("text", PROMPTS)
def test_tokenize_and_back(http: httpx2.Client, loaded: LoadedModel, text: str) -> None:
    body = {"prompt": text, "add_special_tokens": False, "return_token_strs": True}
    found = http.post("/tokenize", json=body).json()
    assert found["tokens"] == loaded.tokenizer(text, add_special_tokens=False).input_ids
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert found["max_model_len"] == 256
    back = http.post("/detokenize", json={"tokens": found["tokens"]}).json()
    assert back == {"prompt": text}
    with_special = http.post("/tokenize", json={"prompt": text}).json()["tokens"]
    assert with_special == [0, *found["tokens"]]


def test_tokenize_a_chat(http: httpx2.Client, loaded: LoadedModel) -> None:
    found = http.post("/tokenize", json={"messages": [{"role": "user", "content": "It"}]}).json()
    text = "<|user|>It<|end|><|assistant|>"
    assert found["tokens"] == loaded.tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_the_generation(
    loaded: LoadedModel, path: str, stream: bool
) -> None:
    # So long an answer takes minutes: only a generation that is dropped ends in time.
    app = create_engine_app(replace(loaded, max_length=100_000))
    body = {
        "prompt": "It",
        "messages": [{"role": "user", "content": "It"}],
        "max_tokens": 90_000,
        "n": 2,
        "ignore_eos": True,
        "stream": stream,
    }

    def running() -> int:
        return sum(len(batch.sequences) for batch in app.state.scheduler._batches)

    def wait_until(count: int) -> None:
        deadline = time.monotonic() + 120
        while running() != count:
            assert time.monotonic() < deadline, f"{running()} sequences run, expected {count}"
            time.sleep(0.01)

    with served(app) as url, httpx2.Client(base_url=url, timeout=120) as other:
        if stream:
            with other.stream("POST", path, json=body) as answer:
                lines = answer.iter_lines()  # held: dropping it would close the connection
                next(lines)
                wait_until(2)
        else:
            with pytest.raises(httpx2.ReadTimeout):
                other.post(path, json=body, timeout=0.5)
        wait_until(0)
        assert other.post(path, json={**body, "max_tokens": 2}).status_code == 200


def test_the_name_of_a_loaded_model_is_its_own(loaded: LoadedModel) -> None:
    with pytest.raises(InvalidInputError, match="tiny"):
        create_engine_app(loaded, "another")


def test_two_engines_in_one_process(checkpoint: Path, http: httpx2.Client) -> None:
    app = create_engine_app(checkpoint, "second", device="cpu")

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://engine") as other,
        ):
            return await other.post("/v1/completions", json=body)

    body = {"prompt": "It", "max_tokens": 9, "temperature": 0}
    theirs = asyncio.run(ask()).json()
    ours = http.post("/v1/completions", json=body).json()
    assert theirs["model"] == "second"
    assert theirs["choices"] == ours["choices"]
