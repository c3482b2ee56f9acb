from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from memedit.adapters.vllm_plugin import register
from memedit.adapters.vllm_plugin.library import LIBRARY
from memedit.adapters.vllm_plugin.resolver import StandingRequests, library_resolver
from memedit.adapters.vllm_plugin.routes import KEY, MemeditRoutes
from memedit.adapters.vllm_plugin.settings import GraceSettings, Served
from tests.live_server import LiveServer

Serve = Callable[[Any], LiveServer]


class Engine:
    def __init__(self, model: str) -> None:
        self.vllm_config = SimpleNamespace(
            lora_config=SimpleNamespace(max_lora_rank=16),
            additional_config={"memedit": {"grace_layers": [1]}},
            model_config=SimpleNamespace(model=model, quantization=None, dtype=None),
            parallel_config=SimpleNamespace(data_parallel_size=1),
        )

    async def is_paused(self) -> bool:
        return False

    async def collective_rpc(self, call: str, args: Any = ()) -> list[dict[str, Any]]:
        assert call == "memedit_state"
        return [{"ok": True, "packed": {}, "grace": {"1": [0]}, "lost": []}]


def made(model: str = "org/model") -> tuple[FastAPI, Any]:
    app, plugin = FastAPI(), MemeditRoutes()
    state = SimpleNamespace(openai_serving_models=SimpleNamespace(lora_requests={}))
    plugin.attach_router(app)
    asyncio.run(plugin.init_state(Engine(model), state, None))
    return app, state


@pytest.fixture
def opened(vllm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(LIBRARY, str(tmp_path))
    monkeypatch.setenv(KEY, "secret")
    register()


def ask(
    server: LiveServer, method: str, path: str, body: Any = None, key: str | None = "secret"
) -> tuple[int, Any]:
    from tests.e2e.wires import send

    headers = {} if key is None else {"memedit-plugin-key": key}
    reply = send(server.url, method, f"/v1/memedit{path}", body, headers)
    return reply.status, reply.json()


def test_what_the_server_was_started_with_is_told_to_the_resolver(opened: None) -> None:
    _, state = made()
    resolver = library_resolver()
    assert resolver is not None
    assert resolver.served == Served(GraceSettings((1,)), 16)
    assert isinstance(state.openai_serving_models.lora_requests, StandingRequests)


def test_only_the_key_opens(opened: None, serve: Serve) -> None:
    server = serve(made()[0])
    for key in (None, "", "wrong", "secret2"):
        for method, path in (("GET", "/info"), ("GET", "/weights"), ("PUT", "/weights")):
            status, said = ask(server, method, path, {} if method == "PUT" else None, key)
            assert status == 401 and "memedit-plugin-key" in said["error"]["message"]
    status, said = ask(server, "GET", "/info")
    assert status == 200 and said["deltas"] == [] and said["workers"][0]["grace"] == {"1": [0]}


def test_without_a_key_no_one_is_let_in(
    opened: None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY)
    status, said = ask(serve(made()[0]), "GET", "/info", key="")
    assert status == 401 and KEY in said["error"]["message"]


def test_without_a_library_there_is_nothing_to_do(
    vllm: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LIBRARY, raising=False)
    monkeypatch.setenv(KEY, "secret")
    status, said = ask(serve(made()[0]), "GET", "/info")
    assert status == 409 and LIBRARY in said["error"]["message"]


def test_errors_have_their_status_and_reason(opened: None, serve: Serve) -> None:
    server = serve(made()[0])
    for body in ({}, {"deltas": "x"}, {"deltas": [1]}, {"deltas": [], "more": 1}, b"{"):
        status, said = ask(server, "PUT", "/weights", body)
        assert status == 400 and said["error"]["type"] == "invalid_input"
    status, said = ask(server, "PUT", "/weights", {"deltas": ["memedit-a-1"]})
    assert status == 400 and "--model DIR" in said["error"]["message"]
    assert ask(server, "PUT", "/weights", {"deltas": []}) == (200, {"deltas": [], "tensors": []})
    assert ask(server, "GET", "/weights") == (200, {"deltas": []})


def test_in_another_vllm_there_are_no_routes(vllm: Any, opened: None) -> None:
    vllm["vllm"].__version__ = "0.40.0"
    app, state = made()
    assert not [r for r in app.routes if "memedit" in getattr(r, "path", "")]
    assert state.openai_serving_models.lora_requests == {}


def test_a_server_that_only_renders_has_no_engine(opened: None) -> None:
    asyncio.run(MemeditRoutes().init_state(None, SimpleNamespace(), None))
