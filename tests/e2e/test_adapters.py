"""Adapters in a real vLLM: learned, registered, chosen per request, deployed, forgotten, deleted.

The tests build on one another, in their order: they follow one edit through its life.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.relay import Relay
from tests.e2e.stack import REPOSITORY, Proxy, Vllm, missing_for_vllm, model_folder
from tests.e2e.wires import CHAT, MODEL, WIRES, Wire, send

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(2400)]
SCENES = REPOSITORY / "examples" / "atlas" / "data" / "demo.json"
ATLASEDIT = SCENES.parent / "atlasedit"
LORA, BAKED = "memedit-capitals-1", "memedit-baked-1"
BAKERY = "bakery"
"""The namespace whose edit is baked."""
MOVED = 3
"""The scene that is baked: a birthplace, which ROME finds at all rates that were tried."""
VISITORS = "visitors"
"""A namespace without edits."""


class LoraVllm(Vllm):
    """vLLM that loads LoRAs at run time."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.command += ["--enable-lora", "--max-loras", "2", "--max-lora-rank", "256"]
        self._env |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_PLUGINS": ""}

    def adapters(self) -> set[str]:
        cards = send(self.url, "GET", "/v1/models").json()["data"]
        return {card["id"] for card in cards if card["parent"] is not None}


@dataclass
class Stage:
    vllm: LoraVllm
    relay: Relay
    proxy: Proxy
    library: Path
    scenes: list[dict[str, Any]]
    edits: dict[str, str]

    def question(self, scene: int) -> str:
        return next(
            str(one["ask"]) for one in self.scenes[scene]["questions"] if one["kind"] == "edited"
        )

    def target(self, scene: int) -> str:
        return str(self.scenes[scene]["edit"]["target_new"])

    def loads(self) -> int:
        asked = [one.request.start for one in self.relay.exchanges]
        return sum("/v1/load_lora_adapter" in start for start in asked)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    missing = missing_for_vllm()
    if missing is not None:
        if os.environ.get("MEMEDIT_REQUIRE_VLLM", "0") not in {"", "0"}:
            pytest.fail(f"MEMEDIT_REQUIRE_VLLM is set, but there is {missing}")
        pytest.skip(missing)
    from memedit.modeling.checkpoint import Checkpoint

    folder = tmp_path_factory.mktemp("adapters")
    library, base = folder / "library", Checkpoint(model_folder()).fingerprint
    scenes = json.loads(SCENES.read_text(encoding="utf-8"))["scenes"]
    flags = ("--library", str(library), "--base", base)
    settings = {"ADAPTERS__RETRY_AFTER": "0"}
    with (
        LoraVllm(folder / "vllm.log") as vllm,
        Relay(vllm.port) as relay,
        Proxy(folder, relay.url, flags=flags, settings=settings) as proxy,
    ):
        yield Stage(vllm, relay, proxy, library, scenes, {})


def _edit(stage: Stage, scene: int, namespace: str) -> None:
    """Add a scene's edit with the question as its prompt: adapters learn that very turn."""
    question = stage.question(scene)
    given = {**stage.scenes[scene]["edit"], "prompt": question}
    [stage.edits[namespace]] = stage.proxy.add(given, namespace=namespace)


def _unrelated(stage: Stage) -> str:
    return next(
        str(one["ask"]) for one in stage.scenes[0]["questions"] if one["kind"] == "unrelated"
    )


def test_an_edit_is_answered_through_a_lora_that_its_prompt_chooses(stage: Stage) -> None:
    _edit(stage, 0, "default")
    question = stage.question(0)
    old, before = CHAT.ask(stage.vllm.url, question)
    assert stage.target(0) not in old and before.route is None
    _, answer = CHAT.ask(stage.proxy.url, question)
    assert answer.route == "in_context" and stage.loads() == 0

    learned = stage.proxy.cli(
        *("adapt", "--method", "lora", "--model", str(model_folder()), "--namespace", "default"),
        *("--library", str(stage.library), "--name", "capitals"),
    )
    assert learned["registered"] == [LORA] and learned["not_said"] == []

    for wire in WIRES:
        for stream in (False, True):
            mark = f"{wire.name}-{stream}"
            _sends_only_another_model(stage, wire, question, stream, mark)
    text, _ = CHAT.ask(stage.proxy.url, question)
    assert stage.target(0) in text and stage.target(0) not in old
    assert stage.loads() == 1 and stage.vllm.adapters() == {LORA}
    routed = stage.proxy.api("POST", "/route", {"prompts": [question]}).json()["routes"]
    assert [(one["action"], one["adapter"]) for one in routed] == [("adapter", LORA)]


def _sends_only_another_model(
    stage: Stage, wire: Wire, question: str, stream: bool, mark: str
) -> None:
    _, answer = wire.ask(stage.proxy.url, question, stream=stream, x_mark=mark)
    assert answer.headers["x-memedit-adapter"] == LORA and answer.route == "adapter"
    assert answer.edits == [f"{stage.edits['default']}@1"]
    assert "x-memedit-method" not in answer.headers
    sent = json.dumps(wire.body(question, **({"stream": True} if stream else {}))).encode()
    expected = sent.replace(f'"model": "{MODEL}"'.encode(), f'"model": "{LORA}"'.encode())
    assert stage.relay.bodies("x-mark")[mark] == expected != sent


def test_another_prompt_is_untouched_byte_for_byte(stage: Stage) -> None:
    question = _unrelated(stage)
    for number, wire in enumerate(WIRES):
        direct, _ = wire.ask(stage.vllm.url, question)
        text, answer = wire.ask(stage.proxy.url, question, x_mark=f"other-{number}")
        assert (text, answer.route) == (direct, "pass")
        assert "x-memedit-adapter" not in answer.headers
        sent = json.dumps(wire.body(question)).encode()
        assert stage.relay.bodies("x-mark")[f"other-{number}"] == sent


def test_vllm_is_restarted_and_the_next_request_has_the_adapter(stage: Stage) -> None:
    question, loads = stage.question(0), stage.loads()
    before, _ = CHAT.ask(stage.proxy.url, question)
    stage.vllm.kill()
    stage.vllm.start()
    assert stage.vllm.adapters() == set()
    text, answer = CHAT.ask(stage.proxy.url, question)
    assert (text, answer.route) == (before, "adapter")
    assert stage.target(0) in text
    assert stage.loads() == loads + 1 and stage.vllm.adapters() == {LORA}


def test_a_damaged_folder_is_unloaded_before_vllm_reads_it_again(stage: Stage) -> None:
    """vLLM without the plugin would end, or answer with whatever numbers stand there."""
    question = stage.question(0)
    before, _ = CHAT.ask(stage.proxy.url, question)
    tensors = stage.library / LORA / "adapter_model.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[: len(whole) // 2])
    text, answer = CHAT.ask(stage.proxy.url, question, x_mark="damaged")
    assert (answer.route, answer.headers["x-memedit-note"]) == (
        "in_context",
        "adapter-failed:damaged",
    )
    assert stage.target(0) in stage.relay.bodies("x-mark")["damaged"].decode()
    deadline = time.monotonic() + 60
    while stage.vllm.adapters() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert stage.vllm.adapters() == set() and stage.vllm.running
    tensors.write_bytes(whole)
    text, answer = CHAT.ask(stage.proxy.url, question)
    assert (text, answer.route) == (before, "adapter")
    assert stage.vllm.adapters() == {LORA}


@contextmanager
def _streaming(stage: Stage, question: str) -> Iterator[Callable[[], str]]:
    """Stream one answer after the other to somebody whose namespace has no edits.

    Yields what waits for the next answer that is asked for; none of them may fail.
    """
    texts: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            text, _ = CHAT.ask(stage.proxy.url, question, stream=True, x_memedit_namespace=VISITORS)
            texts.append(text)

    def following() -> str:
        seen, deadline = len(texts), time.monotonic() + 120
        while len(texts) < seen + 2 and not client.done() and time.monotonic() < deadline:
            time.sleep(0.05)
        return texts[-1]

    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(ask)
        try:
            yield following
        finally:
            stop.set()
        client.result()


def test_a_bake_is_deployed_for_a_namespace_and_undone(stage: Stage) -> None:
    _edit(stage, MOVED, BAKERY)
    question, other = stage.question(MOVED), _unrelated(stage)
    old, _ = CHAT.ask(stage.vllm.url, question)
    assert stage.target(MOVED) not in old
    corpus = stage.library.parent / "corpus.txt"  # what the model samples itself takes longer
    facts = json.loads((ATLASEDIT / "zsre_train.json").read_text(encoding="utf-8"))
    told = [f"{one['prompt']} {one['ground_truth'][0]}." for one in facts]
    corpus.write_text("\n\n".join(told), encoding="utf-8")
    baked = stage.proxy.cli(
        *("bake", "--method", "rome", "--as", "lora", "--model", str(model_folder())),
        *("--layer", "3", "--set", "search.clamp=24", "--set", "search.rate=0.06"),
        *("--corpus", str(corpus), "--namespace", BAKERY),
        *("--library", str(stage.library), "--name", "baked"),
    )
    assert baked["registered"] == [BAKED]
    deployed = stage.proxy.cli("deploy", BAKED, "--namespace", BAKERY)
    assert deployed == {"namespace": BAKERY, "adapter": BAKED, "before": None, "outdated": []}

    for number, asked in enumerate((question, other)):
        mark = f"deployed-{number}"
        text, answer = CHAT.ask(stage.proxy.url, asked, x_memedit_namespace=BAKERY, x_mark=mark)
        assert answer.headers["x-memedit-adapter"] == BAKED
        assert answer.headers["x-memedit-note"] == "deployed"
        body = json.loads(stage.relay.bodies("x-mark")[mark])
        assert body["messages"] == [{"role": "user", "content": asked}]
        assert (stage.target(MOVED) in text) is (asked == question)
    _, elsewhere = CHAT.ask(stage.proxy.url, other)
    assert elsewhere.route == "pass"

    assert stage.proxy.cli("undeploy", "--namespace", BAKERY)["before"] == BAKED
    _, after = CHAT.ask(stage.proxy.url, other, x_memedit_namespace=BAKERY)
    assert after.route == "pass"


def test_a_bake_comes_and_goes_while_a_client_streams(stage: Stage) -> None:
    """No stream fails, and the old answer comes back; fifty edits: tests/e2e/plugin."""
    question, target = stage.question(MOVED), stage.target(MOVED)
    old, before = CHAT.ask(stage.proxy.url, question, x_memedit_namespace=VISITORS)
    assert target not in old and before.route == "pass"
    with _streaming(stage, question) as following:
        assert following() == old
        stage.proxy.cli("deploy", BAKED, "--namespace", VISITORS)
        assert target in following()
        stage.proxy.cli("undeploy", "--namespace", VISITORS)
        assert following() == old
    stage.proxy.cli("adapters", "retire", BAKED)


def test_a_retired_bake_leaves_its_edit_to_the_context(stage: Stage) -> None:
    question = stage.question(MOVED)
    _, again = CHAT.ask(stage.proxy.url, question, x_memedit_namespace=BAKERY, x_mark="again")
    assert again.route == "in_context"
    assert stage.target(MOVED) in stage.relay.bodies("x-mark")["again"].decode()


def test_deletion_brings_the_old_answer_back(stage: Stage) -> None:
    question = stage.question(0)
    direct, _ = CHAT.ask(stage.vllm.url, question)
    stage.proxy.retract(stage.edits["default"])
    text, answer = CHAT.ask(stage.proxy.url, question)
    assert (text, answer.route) == (direct, "pass")
    listed = stage.proxy.cli("adapters", "list")
    [row] = [row for row in listed if row["name"] == LORA]
    assert row["outdated"] == [f"{stage.edits['default']}@1"]


def test_what_is_retired_is_unloaded_and_its_folder_may_go(stage: Stage) -> None:
    stage.proxy.cli("adapters", "retire", LORA)
    deadline = time.monotonic() + 120
    while stage.vllm.adapters() and time.monotonic() < deadline:
        time.sleep(1)
    assert stage.vllm.adapters() == set()
    pruned = stage.proxy.cli(
        "adapters", "prune", "--older-than", "0", "--library", str(stage.library)
    )
    assert set(pruned["deleted"]) == {LORA, BAKED}
    assert list(stage.library.glob("memedit-*")) == []
    _, answer = CHAT.ask(stage.proxy.url, stage.question(0))
    assert answer.route == "pass" and stage.vllm.running
