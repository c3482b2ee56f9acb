"""memedit delta: shown, composed, merged, written as a LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from memedit.modeling.architecture import architecture
from memedit.modeling.delta import EditVersion, LowRank, WeightDelta
from memedit.modeling.fingerprint import model_fingerprint, tensor_digest
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


@pytest.fixture
def delta(model: Any, tmp_path: Path) -> Path:
    """Save a delta of one dense change and one of rank 2."""
    first, second = (layer.down for layer in architecture(model).layers)
    rows, columns = second.weight.shape
    draw = torch.Generator().manual_seed(1)
    low = LowRank(torch.randn((rows, 2), generator=draw), torch.randn((2, columns), generator=draw))
    return WeightDelta(
        {first.name: 0.01 * torch.randn(first.weight.shape, generator=draw), second.name: low},
        method="rome",
        base=model_fingerprint(model),
        notes={"layer": 1},
        edits=(EditVersion("e-0123456789ab", 2),),
    ).save(tmp_path / "delta")


def test_show_says_what_is_changed_and_where_from(
    run: Run, delta: Path, tiny_checkpoint: Path
) -> None:
    ran = run("delta", "show", delta, "--model", tiny_checkpoint)
    assert ran.code == 0, ran.err
    assert "low rank" in ran.out and "32 x 48" in ran.out
    assert "method: rome" in ran.out and "edits: e-0123456789ab@2" in ran.out
    assert "is that model" in ran.out
    shown = run("delta", "show", delta, "--model", tiny_checkpoint, "--json").json
    assert shown["base_matches"] is True and shown["notes"] == {"layer": 1}
    assert [one["rank"] for one in shown["parameters"]] == [None, 2]
    assert all(one["relative_norm"] > 0 for one in shown["parameters"])
    alone = run("delta", "show", delta, "--json").json
    assert alone["base_matches"] is None
    assert [one["relative_norm"] for one in alone["parameters"]] == [None, None]


def test_merge_bakes_it_into_a_copy(
    run: Run, delta: Path, model: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    common = ("delta", "merge", delta, "--model")
    ran = run(*common, tiny_checkpoint, "--into", tmp_path / "baked", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["shards"], ran.json["rewritten"], ran.json["warning"]) == (1, 1, "")
    baked = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "baked")
    with WeightDelta.load(delta).applied(model):
        for name, parameter in model.named_parameters():
            assert tensor_digest(baked.get_parameter(name)) == tensor_digest(parameter)
    assert (tmp_path / "baked" / "tokenizer.json").exists()
    again = run(*common, tmp_path / "baked", "--into", tmp_path / "twice", "--json")
    assert again.code == 1 and "--any-base" in again.error["message"]
    warned = run(*common, tmp_path / "baked", "--into", tmp_path / "twice", "--any-base")
    assert warned.code == 0 and "careful: the delta was computed for" in warned.err
    assert "2 tensors changed in 1 of 1 weight files" in warned.out
    there = run(*common, tiny_checkpoint, "--into", tmp_path / "baked", "--json")
    assert there.code == 1 and "not overwritten" in there.error["message"]


def test_lora_says_what_is_lost(
    run: Run, delta: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    common = ("delta", "lora", delta, "--model", tiny_checkpoint, "--into")
    ran = run(*common, tmp_path / "lora", "--rank", "9", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["rank"], ran.json["max_lora_rank"]) == (9, 16)
    dense, low = ran.json["parameters"]
    assert dense["relative_error"] > 0.1 and low["relative_error"] < 1e-6 and low["rank"] == 2
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_checkpoint)
    table = run(*common, tmp_path / "whole", "--dtype", "bfloat16")
    assert table.code == 0 and "vLLM needs --max-lora-rank 32" in table.out
    wrong = run(*common, tmp_path / "none", "--dtype", "int8", "--json")
    assert wrong.code == 2 and "expected float32" in wrong.error["message"]


def test_compose_adds_up(run: Run, delta: Path, tmp_path: Path) -> None:
    ran = run("delta", "compose", delta, delta, "--into", tmp_path / "both", "--json")
    assert ran.code == 0, ran.err
    assert [one["rank"] for one in ran.json["parameters"].values()] == [None, 4]
    both, one = WeightDelta.load(tmp_path / "both"), WeightDelta.load(delta)
    for name in one.names():
        torch.testing.assert_close(both.dense(name), 2 * one.dense(name))
    assert both.edits == one.edits and len(both.notes["composed"]) == 2
    said = run("delta", "compose", delta, delta, "--into", tmp_path / "more").out
    assert said.startswith("2 deltas, 2 changed parameters")
    single = run("delta", "compose", delta, "--into", tmp_path / "single", "--json")
    assert single.code == 2 and "at least two" in single.error["message"]


def test_what_is_no_delta_is_said_in_a_line(run: Run, delta: Path, tmp_path: Path) -> None:
    assert "no delta at" in run("delta", "show", tmp_path / "none", "--json").error["message"]
    tensors = delta / "delta.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    ran = run("delta", "show", delta, "--json")
    assert ran.code == 1 and "damaged" in ran.error["message"]


def test_every_command_shows_an_example(run: Run) -> None:
    for command in ("show", "compose", "merge", "lora", "apply", "revert"):
        assert f"Example: memedit delta {command}" in " ".join(
            run("delta", command, "--help").out.split()
        )
