from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx2
import pytest

import memedit
from memedit.engine.app import create_engine_app
from memedit.engine.loading import LoadedModel
from memedit.errors import InvalidInputError
from tests.engine.conftest import NAME, PROMPTS


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


def test_a_client_that_goes_away_ends_the_generation(http: httpx2.Client, base_url: str) -> None:
    def running() -> int:
        return sum(1 for thread in threading.enumerate() if thread.name == "memedit-engine")

    assert running() >= 1
    body = {"prompt": "It", "max_tokens": 200, "ignore_eos": True, "temperature": 0}
    with httpx2.Client(base_url=base_url, timeout=30) as other:
        with other.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            next(answer.iter_lines())
        with pytest.raises(httpx2.ReadTimeout):
            other.post("/v1/completions", json={**body, "n": 64}, timeout=0.05)
    # The engine is free at once for the next request: 65 dropped sequences take seconds.
    began = time.monotonic()
    assert http.post("/v1/completions", json={**body, "max_tokens": 2}).status_code == 200
    assert time.monotonic() - began < 10


def test_the_name_of_a_loaded_model_is_its_own(loaded: LoadedModel) -> None:
    with pytest.raises(InvalidInputError, match="tiny"):
        create_engine_app(loaded, "another")


def test_two_engines_in_one_process(checkpoint: Path, http: httpx2.Client) -> None:
    import asyncio

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
