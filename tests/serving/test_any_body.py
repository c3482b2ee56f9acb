"""Whatever the body, memedit itself never fails over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memedit.config import ServeSettings
from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.serving import create_app
from memedit.types import Surface
from tests.serving.parts import ASKED, ATLANTIS, BeforeMethod, SimilarityClassifier, WordsEncoder
from tests.serving.raw_upstream import RawUpstream
from tests.serving.served import Served

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")

text = st.sampled_from([ASKED, "", " ", "x", "\ud800", "\x00", "é" * 50]) | st.text(max_size=20)
leaf = st.none() | st.booleans() | st.integers() | st.floats() | text
part = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "input_text", "image_url", 3]), "text": leaf}
)
turn = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", 1, None]),
        "content": leaf | st.lists(part | leaf, max_size=3),
        "type": st.sampled_from(["message", "function_call", None]),
        "tool_calls": leaf,
    },
)
anything = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)
near = st.fixed_dictionaries(
    {},
    optional={
        "model": leaf,
        "messages": st.lists(turn | leaf, max_size=4) | anything,
        "prompt": text | st.lists(text | leaf, max_size=3) | st.lists(st.integers(), max_size=3),
        "input": text | st.lists(turn | leaf, max_size=3) | anything,
        "system": leaf,
        "instructions": leaf,
        "stream": leaf,
        "echo": leaf,
        "logprobs": leaf,
    },
)
written = (near | anything).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
bodies = (
    written
    | st.binary(max_size=60)
    | st.tuples(written, st.integers(0, 400)).map(lambda cut: cut[0][: cut[1]])
    | st.integers(1, 20_000).map(lambda deep: b'{"messages":' + b"[" * deep)
)


asked = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("edits", "request", "prompts", "messages", "namespace"), anything)
)


class Stack:
    """One proxy and upstream for all examples."""

    def __init__(self, folder: Path) -> None:
        self.upstream = RawUpstream()
        self.memory = EditMemory.open(f"sqlite:///{folder}/edits.db", WordsEncoder())
        self.memory.add([ATLANTIS])
        method: Any = ("before", BeforeMethod())
        methods = {Surface.CHAT: method, Surface.COMPLETION: method}
        router = Router(self.memory, SimilarityClassifier(), methods)
        self.proxy = Served(
            create_app(ServeSettings(upstream=self.upstream.url), router, self.memory)
        )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("any-body"))
    yield running
    running.proxy.stop()
    running.upstream.stop()
    running.memory.close()


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(PATHS), body=bodies)
def test_no_request_body_makes_memedit_fail(stack: Stack, path: str, body: bytes) -> None:
    got = stack.proxy.ask("POST", path, body, {"content-type": "application/json"})
    assert got.status == 200
    assert got.body == b'{"ok":true}'
    assert got.header("x-memedit-reason") != "memory_failed"
    arrived = stack.upstream.last(path.encode()).body
    if got.header("x-memedit-edits") is None:
        assert arrived == body
    else:
        assert b"Nautilopolis" in arrived
        assert len(arrived) > len(body)


@settings(max_examples=150, deadline=None)
@given(
    target=st.sampled_from(["/edits", "/route", "/edits/e-1"]),
    body=bodies
    | st.fixed_dictionaries(
        {},
        optional={"edits": anything, "request": anything, "prompts": anything, "namespace": leaf},
    ).map(lambda value: json.dumps(value).encode()),
)
def test_no_body_makes_the_edit_api_fail(stack: Stack, target: str, body: bytes) -> None:
    method = "PUT" if target.endswith("e-1") else "POST"
    kind = {"content-type": "application/json"}
    got = stack.proxy.ask(method, "/memedit/v1" + target, body, kind)
    assert got.status < 500, got.body
    if got.status >= 400:
        assert set(got.json["error"]) == {"code", "message"}
