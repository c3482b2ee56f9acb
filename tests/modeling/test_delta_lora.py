"""Deltas as LoRAs: peft adds what the delta adds, and what a cut loses is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import EditVersion, LowRank, WeightDelta
from memedit.modeling.delta_lora import CONFIG, MANIFEST, TENSORS, to_lora
from tests.modeling.families import tiny_model

TOKENS = torch.tensor([[5, 17, 200, 43]])


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(model: Any) -> WeightDelta:
    """Ranks 2 and 5 as factors of very different sizes, and one dense of rank 3."""
    first, second, third = (layer.down for layer in architecture(model).layers)
    rows, columns = first.weight.shape
    return WeightDelta(
        {
            first.name: LowRank(1e3 * draw(rows, 2), 1e-4 * draw(2, columns, seed=2)),
            second.name: LowRank(1e-5 * draw(rows, 5, seed=3), 1e4 * draw(5, columns, seed=4)),
            third.name: 0.1 * draw(rows, 3, seed=5) @ draw(3, columns, seed=6),
        },
        method="rome",
        base="f" * 64,
        edits=(EditVersion("e-1", 1),),
    )


def rebuilt(folder: Path, name: str) -> torch.Tensor:
    """Return (B @ A) * alpha / r as (out, in), float64, from the files alone."""
    tensors = load_file(folder / TENSORS)
    key = f"base_model.model.{name.removesuffix('.weight')}"
    up, down = (tensors[f"{key}.lora_{side}.weight"].double() for side in "BA")
    return up @ down


# peft asks transformers 5.24 under a name that it is about to drop
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_peft_adds_what_the_delta_adds(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    delta = made(model)
    with torch.no_grad(), delta.applied(model):
        wanted = model(TOKENS).logits
    written = to_lora(delta, tmp_path / "lora", model)
    assert (written.rank, written.max_lora_rank) == (5, 8)
    assert [part.rank for part in written.parts] == [2, 5, 3]
    assert written.relative_error < 1e-6
    adapted = peft.PeftModel.from_pretrained(model, tmp_path / "lora")
    with torch.no_grad():
        torch.testing.assert_close(adapted(TOKENS).logits, wanted, rtol=2e-4, atol=2e-4)
    for name in delta.names():
        module = adapted.base_model.model.get_submodule(name.removesuffix(".weight"))
        added = module.get_delta_weight("default")
        torch.testing.assert_close(added, delta.dense(name), rtol=1e-4, atol=1e-5)
        assert module.scaling == {"default": 1.0}


def test_the_files_are_what_vllm_reads(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    delta = made(model)
    written = to_lora(delta, tmp_path / "lora", model, base_model="gpt2")
    config = json.loads((tmp_path / "lora" / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"], config["bias"]) == (5, 5, "none")
    assert config["rank_pattern"] == config["alpha_pattern"]
    assert config["rank_pattern"] == {
        r"transformer\.h\.0\.mlp\.c_proj": 2,
        r"transformer\.h\.2\.mlp\.c_proj": 3,
    }
    assert config["fan_in_fan_out"] is True and config["base_model_name_or_path"] == "gpt2"
    tensors = load_file(tmp_path / "lora" / TENSORS)
    key = "base_model.model.transformer.h.1.mlp.c_proj"
    assert tensors[f"{key}.lora_A.weight"].shape == (5, 128)  # c_proj is stored (in, out)
    assert tensors[f"{key}.lora_B.weight"].shape == (32, 5)
    manifest = json.loads((tmp_path / "lora" / MANIFEST).read_text())
    assert manifest["base"] == "f" * 64 and manifest["edits"] == [{"id": "e-1", "version": 1}]
    assert manifest["max_lora_rank"] == 8
    assert [one["relative_error"] for one in manifest["parameters"]] == [
        part.relative_error for part in written.parts
    ]


def test_what_a_cut_loses_is_the_least_possible_and_is_said(tmp_path: Path) -> None:
    model = tiny_model("llama")
    matrix = architecture(model).layers[0].down
    dense = draw(*matrix.weight.shape)
    values = torch.linalg.svdvals(dense.double())
    delta = WeightDelta({matrix.name: dense})
    for rank in (1, 7, 32):
        folder = tmp_path / str(rank)
        [part] = to_lora(delta, folder, model, rank=rank).parts
        least = float(values[rank:].norm() / values.norm())
        assert part.rank == rank and part.relative_error == pytest.approx(least, abs=1e-6)
        missed = rebuilt(folder, matrix.name) - dense.double()
        assert part.relative_error == pytest.approx(float(missed.norm() / dense.norm()), abs=1e-7)
    [whole] = to_lora(delta, tmp_path / "whole", model).parts
    assert whole.rank == 32 and whole.relative_error < 1e-6


def test_factors_are_as_large_as_each_other_whatever_they_were(tmp_path: Path) -> None:
    model = tiny_model("llama")
    delta = made(model)
    written = to_lora(delta, tmp_path / "lora", model, dtype=torch.bfloat16)
    tensors = load_file(tmp_path / "lora" / TENSORS)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    norms = [float(tensor.float().norm()) for tensor in tensors.values()]
    for side in range(0, len(norms), 2):
        assert norms[side] == pytest.approx(norms[side + 1], rel=0.01)
    for part in written.parts:
        assert 1e-4 < part.relative_error < 2**-7  # bfloat16 keeps 8 bits
        missed = rebuilt(tmp_path / "lora", part.name) - delta.dense(part.name).double()
        share = float(missed.norm() / delta.dense(part.name).norm())
        assert part.relative_error == pytest.approx(share, rel=1e-3)


def test_ranks_are_those_that_are_needed(tmp_path: Path) -> None:
    model = tiny_model("llama")
    matrix = architecture(model).layers[0].down
    rows, columns = matrix.weight.shape
    left, right = draw(rows, 1), draw(1, columns)
    for number, (change, needed) in enumerate(
        (
            (LowRank(left.repeat(1, 3), right.repeat(3, 1)), 1),  # one direction, three times
            (LowRank(torch.zeros(rows, 2), torch.zeros(2, columns)), 1),
            (LowRank(torch.zeros(rows, 0), torch.zeros(0, columns)), 1),
            (torch.zeros(rows, columns), 1),
            # a small edit beside a large one is an edit all the same
            (LowRank(torch.cat((left, 1e-8 * draw(rows, 1, seed=8)), 1), draw(2, columns)), 2),
        )
    ):
        delta = WeightDelta({matrix.name: change})
        [part] = to_lora(delta, tmp_path / str(number), model).parts
        assert part.rank == needed and part.relative_error < 1e-6
        got = rebuilt(tmp_path / str(number), matrix.name)
        torch.testing.assert_close(got.float(), delta.dense(matrix.name), rtol=1e-4, atol=1e-6)


def test_what_no_lora_can_carry_is_refused(tmp_path: Path) -> None:
    model, tied = tiny_model("llama"), tiny_model("gpt2")
    name = architecture(model).layers[0].down.name
    for given, changes, words in (
        (model, {"model.norm.weight": torch.ones(32)}, "expected the weight of a Linear"),
        (model, {"model.embed_tokens.weight": torch.ones(300, 32)}, "in a Embedding"),
        (model, {"model.layers.9.mlp.down_proj.weight": torch.ones(2, 2)}, "another architecture"),
        (tied, {"transformer.h.0.mlp.c_proj.bias": torch.ones(32)}, "in a Conv1D"),
        (tied, {"lm_head.weight": torch.ones(300, 32)}, "tied"),
        (model, {name: torch.ones(2, 2)}, "has shape"),
        (model, {}, "changes nothing"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            to_lora(WeightDelta(changes), tmp_path / "lora", given)
    delta = made(model)
    for rank in (0, 513):
        with pytest.raises(InvalidInputError, match="expected 1 to 512"):
            to_lora(delta, tmp_path / "lora", model, rank=rank)
    huge = WeightDelta({name: torch.full((32, 48), 1e20)})
    with pytest.raises(InvalidInputError, match=r"do not fit torch\.float16"):
        to_lora(huge, tmp_path / "lora", model, dtype=torch.float16)
    wide = torch.nn.Module()
    wide.inner = torch.nn.Linear(600, 600, bias=False)
    full = WeightDelta({"inner.weight": torch.eye(600)})
    with pytest.raises(InvalidInputError, match="rank 600, vLLM takes LoRAs up to 512"):
        to_lora(full, tmp_path / "lora", wide)
    assert not list(tmp_path.iterdir())
    to_lora(delta, tmp_path / "lora", model)
    with pytest.raises(InvalidInputError, match="not overwritten"):
        to_lora(delta, tmp_path / "lora", model)
