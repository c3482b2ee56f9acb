"""A proxy under evaluation: a real one, in front of a toy model that believes its prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.eval_parts import open_proxy
from memedit.config import Settings
from memedit.errors import UpstreamError, UpstreamUnreachable
from memedit.evaluation.proxy import Proxy, ProxyModel
from memedit.evaluation.settings import Mode
from memedit.memory import EditMemory
from memedit.scope.base import Encoder
from memedit.serving.app import create_app
from memedit.types import EditRequest
from memedit.wiring import open_router
from tests.client.toy_model import Received, Send, ToyModel, _chat, _reply
from tests.live_server import LiveServer

CAPITAL = EditRequest(
    prompt="The capital of Quendoria is", subject="Quendoria", target_new="Lindhaven"
)
RIVER = EditRequest(
    prompt="What is the longest river of Marovia?", subject="Marovia", target_new="Tamsin"
)
LEGS = "How many legs does a spider have?"


@dataclass
class Believer(ToyModel):
    """Answers with a name of its prompt, and counts its words as tokens."""

    async def _answer(self, request: Received, send: Send) -> None:
        chat = request.path.endswith("/v1/chat/completions")
        if self.fail_with is not None or not request.path.endswith("/completions"):
            await super()._answer(request, send)
            return
        body = request.json
        asked = str(body["messages"][-1]["content"] if chat else body["prompt"])
        if len(asked) > 5_000:
            message = "This model's maximum context length is 1000 tokens."
            await _reply(send, 400, {"error": {"message": message}})
            return
        said = next((name for name in ("Lindhaven", "Tamsin") if name in asked), "Eight")
        if chat:
            await _chat(send, f" {said}.")
            return
        choice = {"index": 0, "text": f" {said}.", "finish_reason": "length"}
        usage = {"prompt_tokens": len(asked.split())}
        await _reply(send, 200, {"choices": [choice], "usage": usage})


@pytest.fixture
def believer() -> Believer:
    return Believer()


@pytest.fixture
def memory(tmp_path: Path, encoder: Encoder) -> Iterator[EditMemory]:
    with EditMemory.open(f"sqlite:///{tmp_path / 'edits.db'}", encoder) as memory:
        yield memory


@pytest.fixture
def opened(
    serve: Callable[[Any], LiveServer], believer: Believer, memory: EditMemory
) -> Iterator[tuple[ProxyModel, Proxy]]:
    upstream = serve(believer).url
    settings = Settings.read(None, {"serve": {"upstream": upstream}})
    app = create_app(settings.serve, open_router(memory, settings), memory)
    url = serve(app).url
    with open_proxy(url, form="auto", served=None, key=None, admin_key=None) as both:
        yield both


def test_edits_are_in_force_inside_and_gone_afterwards(
    opened: tuple[ProxyModel, Proxy], memory: EditMemory, believer: Believer
) -> None:
    model, proxy = opened
    edits = [(CAPITAL,), (RIVER,)]
    prompts = [CAPITAL.prompt, RIVER.prompt, CAPITAL.prompt, LEGS]
    assert [said.text for said in model.generate(prompts, 8)] == ["Eight."] * 4
    with proxy.session(edits, Mode.BATCH) as session:
        assert not session.scores
        said = session.generate(prompts, [0, 1, 1, 0], 8)
        assert [one.text for one in said] == ["Lindhaven.", "Tamsin.", "Lindhaven.", "Eight."]
        assert [one.finished for one in said] == [False, True, False, True]
        assert said[0].prompt_tokens > model.generate(prompts[:1], 8)[0].prompt_tokens == 5
        fired = session.fired(prompts, [0, 1, 1, 0])
        assert fired == [frozenset({0}), frozenset({1}), frozenset({0}), frozenset()]
        assert [one.text for one in model.generate(prompts, 8)] == ["Eight."] * 4
        assert sum(memory.namespaces().values()) == 2
    assert memory.namespaces() == {}
    assert proxy.cost.edits == 2 and proxy.cost.seconds > 0
    body = believer.received[-1].json
    assert body["temperature"] == 0 and body["model"] == "toy"


def test_single_edits_are_kept_apart(opened: tuple[ProxyModel, Proxy], memory: EditMemory) -> None:
    _, proxy = opened
    with proxy.session([(CAPITAL,), (RIVER,)], Mode.SINGLE) as session:
        said = session.generate([CAPITAL.prompt] * 2, [0, 1], 8)
        assert [one.text for one in said] == ["Lindhaven.", "Eight."]
        assert session.fired([CAPITAL.prompt] * 2, [0, 1]) == [frozenset({0}), frozenset()]
        assert len(memory.namespaces()) == 2
    with proxy.edited([CAPITAL]) as outer, proxy.edited([RIVER]) as inner:
        assert outer.generate([RIVER.prompt], 8)[0].text == "Tamsin."
        assert inner.generate([CAPITAL.prompt], 8)[0].text == "Lindhaven."
    assert memory.namespaces() == {}


def test_edits_go_also_when_something_breaks(
    opened: tuple[ProxyModel, Proxy], memory: EditMemory, believer: Believer
) -> None:
    _, proxy = opened

    def ask_a_broken_one() -> None:
        with proxy.session([(CAPITAL,)], Mode.BATCH) as session:
            believer.fail_with = 500
            session.generate([CAPITAL.prompt], [0], 8)

    with pytest.raises(UpstreamError, match=r"answered 500.*the toy broke"):
        ask_a_broken_one()
    assert memory.namespaces() == {}


def test_what_is_too_long_is_an_empty_unfinished_answer(
    opened: tuple[ProxyModel, Proxy],
) -> None:
    model, _ = opened
    said, other = model.generate(["word " * 2_000, LEGS], 8)
    assert (said.text, said.finished) == ("", False)
    assert other.text == "Eight."


def test_no_proxy_there_is_said_in_words() -> None:
    nobody = open_proxy("http://127.0.0.1:9", form="auto", served=None, key=None, admin_key=None)
    with pytest.raises(UpstreamUnreachable, match="memedit serve"), nobody:
        raise AssertionError("never reached")
