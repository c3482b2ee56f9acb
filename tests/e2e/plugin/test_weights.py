"""Bakes and deltas in a running vLLM, as LoRAs and in its weights, and taken out again."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from memedit.cli.app import app
from memedit.editing.catalog import open_editor
from memedit.modeling.delta import WeightDelta
from memedit.modeling.delta_lora import to_lora
from tests.e2e.plugged import KEY, PluggedVllm
from tests.e2e.plugin_reference import BAKED, CLOSE, EDITS, Reference
from tests.e2e.wires import MODEL

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]


def test_the_routes_are_closed_without_the_key(plugged: PluggedVllm) -> None:
    for key in ("", "wrong"):
        for method, path, body in (("GET", "/info", None), ("PUT", "/weights", {"deltas": []})):
            assert plugged.plugin(method, path, body, key=key).status == 401
    [worker] = plugged.plugin("GET", "/info").json()["workers"]
    assert worker["ok"] and set(worker["grace"]) == {"2", "3"}


def test_bakes_are_served_as_loras_and_pushed_as_tensors(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    """One fact by ROME, fifty by MEMIT: by name and in the weights, while answers are written."""
    bakes = dict(zip(("fact", "batch"), reference.bakes(), strict=True))
    prompts = [*reference.prompts, reference.ids(BAKED[0].prompt)]
    own = [plugged.said(ids) for ids in prompts]

    def delta(command: str, *arguments: str) -> list[str]:
        server = ("--server", plugged.url, "--plugin-key", KEY, "--json")
        ran = CliRunner().invoke(app, ["delta", command, *arguments, *server])
        assert ran.exit_code == 0, ran.output
        in_force: list[str] = json.loads(ran.stdout)["deltas"]
        return in_force

    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        # each answer of the streaming client has all its tokens, whatever is loaded meanwhile
        client = pool.submit(plugged.streams, prompts[-1], stop)
        try:
            for (name, bake), rank in zip(bakes.items(), (1, len(BAKED)), strict=True):
                lora = f"memedit-{name}-lora-1"
                exported = to_lora(bake, reference.library / lora, reference.model)
                assert exported.rank == rank and exported.relative_error < 1e-5
                chosen = [plugged.said(ids, lora) for ids in prompts]
                folder = bake.save(reference.library.parent / name)
                pushed = delta("apply", str(folder), "--library", str(reference.library))
                assert pushed == [f"memedit-{name}-1"]
                in_weights = [plugged.said(ids) for ids in prompts]
                assert delta("revert", *pushed) == []
                assert chosen[-1].tokens == in_weights[-1].tokens != own[-1].tokens, name
                with bake.applied(reference.model):
                    for said in (*chosen, *in_weights):
                        assert said.worst(reference.model) < CLOSE, name
        finally:
            stop.set()
        assert client.result() >= 2
    assert [plugged.said(ids) for ids in prompts] == own


def test_deltas_are_put_into_the_weights_and_taken_back_to_the_bit(
    plugged: PluggedVllm, reference: Reference
) -> None:
    """The same prompts before, with and after, so that stale cache would be seen."""
    taught = open_editor("ft-m").edit(reference.model, reference.tokenizer, EDITS[:1])
    taught = replace(taught, base=reference.base)
    taught.save(reference.library / "memedit-taught-1")
    random = reference.low_rank(50, (2, 3, 6))
    random.save(reference.library / "memedit-random-1")
    before = [plugged.said(ids) for ids in reference.prompts]
    lora = [plugged.said(ids, "memedit-lora-1") for ids in reference.prompts]
    assert plugged.put("memedit-taught-1")["deltas"] == ["memedit-taught-1"]
    with taught.applied(reference.model):
        for ids in reference.prompts:
            reference.check(plugged.said(ids), MODEL)
            reference.check(plugged.said(ids, "memedit-lora-1"), "memedit-lora-1")
    alone = [plugged.said(ids) for ids in reference.prompts]
    assert alone != before
    plugged.put("memedit-taught-1", "memedit-random-1")
    with taught.applied(reference.model), random.applied(reference.model):
        for ids in reference.prompts:
            reference.check(plugged.said(ids), MODEL)
    plugged.put("memedit-random-1")  # the first one goes, the later one stays
    with random.applied(reference.model):
        for ids in reference.prompts:
            reference.check(plugged.said(ids), MODEL)
    plugged.put("memedit-taught-1")
    assert [plugged.said(ids) for ids in reference.prompts] == alone
    assert plugged.put()["deltas"] == []
    assert [plugged.said(ids) for ids in reference.prompts] == before
    assert [plugged.said(ids, "memedit-lora-1") for ids in reference.prompts] == lora
    reference.check(plugged.said(reference.prompts[0], "memedit-grace-1"), "memedit-grace-1")


def test_fused_weights_are_written_whole(plugged: PluggedVllm, reference: Reference) -> None:
    random = torch.Generator().manual_seed(60)
    names = ("self_attn.k_proj", "mlp.up_proj", "self_attn.o_proj")
    changes = {}
    for name in (f"model.layers.1.{part}.weight" for part in names):
        shape = reference.model.get_parameter(name).shape
        changes[name] = torch.randn(shape, generator=random) * 0.02
    delta = WeightDelta(changes, base=reference.base)
    delta.save(reference.library / "memedit-fused-1")
    before = [plugged.said(ids) for ids in reference.prompts]
    written = plugged.put("memedit-fused-1")["tensors"]
    assert "model.layers.1.self_attn.q_proj.weight" in written
    assert "model.layers.1.mlp.gate_proj.weight" in written
    with delta.applied(reference.model):
        for ids in reference.prompts:
            reference.check(plugged.said(ids), MODEL)
    plugged.put()
    assert [plugged.said(ids) for ids in reference.prompts] == before


def test_answers_under_way_go_on_while_weights_change(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    reference.low_rank(70).save(reference.library / "memedit-midway-1")
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(plugged.said, ids, MODEL, 200) for ids in reference.prompts]
        running += [pool.submit(plugged.said, ids, "memedit-grace-1", 200) for ids in [[5, 6, 7]]]
        for _ in range(3):
            plugged.put("memedit-midway-1")
            plugged.put()
        assert [len(said.result().tokens) for said in running] == [200] * len(running)


def test_deltas_that_do_not_fit_change_nothing(
    plugged: PluggedVllm, reference: Reference, unharmed: None
) -> None:
    good = reference.low_rank(80)
    good.save(reference.library / "memedit-good-1")
    replace(good, base="0" * 64).save(reference.library / "memedit-stranger-1")
    name = "model.layers.99.mlp.down_proj.weight"
    replace(good, changes={name: torch.ones(256, 768)}).save(reference.library / "memedit-deep-9")
    small = {"model.layers.2.mlp.down_proj.weight": torch.ones(2, 2)}
    replace(good, changes=small).save(reference.library / "memedit-small-1")
    for wrong, status, reason in (
        ("memedit-stranger-1", 400, "fingerprint"),
        ("memedit-deep-9", 400, "no parameter"),
        ("memedit-small-1", 400, "has shape"),
        ("memedit-absent-1", 404, "has no"),
        ("memedit-../../x-1", 400, "is no name"),
        ("memedit-lora-1", 404, "no delta"),
    ):
        reply = plugged.plugin("PUT", "/weights", {"deltas": ["memedit-good-1", wrong]})
        assert reason in reply.json()["error"]["message"], reply.body
        assert reply.status == status or reply.status >= 400
    assert plugged.plugin("PUT", "/weights", {"delta": "x"}).status == 400
    assert plugged.plugin("GET", "/weights").json() == {"deltas": []}
