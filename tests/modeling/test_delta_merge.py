"""Merged checkpoints: what is loaded from them is what applying the delta leaves, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import EditVersion, LowRank, WeightDelta
from memedit.modeling.delta_merge import MERGED, merge
from memedit.modeling.fingerprint import model_fingerprint, tensor_digest
from tests.modeling.families import tiny_model


def loaded(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def bits(model: Any) -> dict[str, bytes]:
    return {name: tensor_digest(p) for name, p in model.named_parameters()}


def made(model: Any) -> WeightDelta:
    generator = torch.Generator().manual_seed(3)
    first, second = (layer.down for layer in architecture(model).layers[:2])
    rows, columns = second.weight.shape
    return WeightDelta(
        {
            first.name: 0.05 * torch.randn(first.weight.shape, generator=generator),
            second.name: LowRank(
                torch.randn((rows, 3), generator=generator),
                0.05 * torch.randn((3, columns), generator=generator),
            ),
        },
        method="rome",
        base=model_fingerprint(model),
        edits=(EditVersion("e-1", 1),),
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tiny_model("llama", torch.bfloat16).save_pretrained(tmp_path / "m", max_shard_size="30KB")
    return tmp_path / "m"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_it_is_what_applying_leaves(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    source, into = tmp_path / "m", tmp_path / "new" / "baked"
    tiny_model(family, dtype).save_pretrained(source, max_shard_size="30KB")
    model = loaded(source)
    delta = WeightDelta.load(made(model).save(tmp_path / "d"))
    told: list[tuple[int, int]] = []
    done = merge(delta, source, into, progress=lambda now, total: told.append((now, total)))
    baked = loaded(into)
    with delta.applied(model):
        assert bits(baked) == bits(model)
    assert {p.dtype for p in baked.parameters()} == {dtype}
    assert set(done.changed) == set(delta.names())
    assert 0 < done.rewritten < done.shards and told[-1] == (done.shards, done.shards)
    assert {p.name for p in into.iterdir()} == {p.name for p in source.iterdir()} | {MERGED}


def test_everything_else_is_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tokenizer").mkdir()
    (checkpoint / "tokenizer" / "merges.txt").write_text("a b")
    (checkpoint / ".cache").mkdir()
    (checkpoint / ".cache" / "x").write_text("")
    (checkpoint / "pytorch_model.bin").write_bytes(b"stale")
    (checkpoint / "pytorch_model.bin.index.json").write_text("{}")
    before = {p: p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()}
    into = tmp_path / "baked"
    done = merge(made(loaded(checkpoint)), checkpoint, into)
    assert done.left_out == ("pytorch_model.bin", "pytorch_model.bin.index.json")
    assert {p: p.read_bytes() for p in checkpoint.rglob("*") if p.is_file()} == before
    same = {p.relative_to(checkpoint): content for p, content in before.items()}
    weights = {p.name for p in checkpoint.glob("*.safetensors")}
    for path in (p.relative_to(into) for p in into.rglob("*") if p.is_file()):
        assert path.name in weights | {MERGED} or (into / path).read_bytes() == same[path]
    assert (into / "tokenizer" / "merges.txt").exists() and not (into / ".cache").exists()
    for name in weights:
        with safe_open(checkpoint / name, "pt") as old, safe_open(into / name, "pt") as new:
            assert old.metadata() == new.metadata() and set(old.keys()) == set(new.keys())
    assert (into / "config.json").stat().st_mode == (checkpoint / "config.json").stat().st_mode


def test_it_says_which_edits_are_in_it(checkpoint: Path, tmp_path: Path) -> None:
    delta = made(loaded(checkpoint))
    merge(delta, checkpoint, tmp_path / "once")
    warned = merge(delta, tmp_path / "once", tmp_path / "twice", any_base=True)
    assert delta.base[:12] in warned.warning
    records = json.loads((tmp_path / "twice" / MERGED).read_text())
    assert [record["edits"] for record in records] == [[{"id": "e-1", "version": 1}]] * 2
    with pytest.raises(InvalidInputError, match="computed for the model with fingerprint"):
        merge(delta, tmp_path / "once", tmp_path / "refused")


def test_tied_weights_change_together(tmp_path: Path) -> None:
    source = tmp_path / "m"
    tiny_model("gpt2").save_pretrained(source)
    model = loaded(source)
    delta = WeightDelta({"lm_head.weight": torch.ones(300, 32)}, base=model_fingerprint(model))
    assert merge(delta, source, tmp_path / "one").changed == ("transformer.wte.weight",)
    with delta.applied(model):
        assert bits(loaded(tmp_path / "one")) == bits(model)

    [shard] = source.glob("*.safetensors")
    tensors = load_file(shard)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, shard, metadata={"format": "pt"})
    both = merge(delta, source, tmp_path / "both")
    assert set(both.changed) == {"transformer.wte.weight", "lm_head.weight"}
    with delta.applied(model):
        assert bits(loaded(tmp_path / "both")) == bits(model)

    twice = WeightDelta({**delta.changes, "transformer.wte.weight": torch.ones(300, 32)})
    with pytest.raises(InvalidInputError, match="a change of one"):
        merge(twice, source, tmp_path / "no", any_base=True)
    tensors["lm_head.weight"] += 1
    save_file(tensors, shard, metadata={"format": "pt"})
    with pytest.raises(InvalidInputError, match="different numbers"):
        merge(delta, source, tmp_path / "no", any_base=True)


def test_what_cannot_be_merged_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    model = loaded(checkpoint)
    delta = made(model)
    name = delta.names()[0]
    shape = model.get_parameter(name).shape
    there = sorted(path.name for path in tmp_path.iterdir())
    for changes, words in (
        ({"model.nothing.weight": torch.ones(2)}, "another architecture"),
        ({name: torch.ones(2, 2)}, "another model"),
        ({name: torch.full(shape, 3.4e38)}, "does not fit torch.bfloat16"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            merge(WeightDelta(changes, base=delta.base), checkpoint, tmp_path / "new")
    with pytest.raises(InvalidInputError, match="lies inside"):
        merge(delta, checkpoint, checkpoint / "baked")
    with pytest.raises(InvalidInputError, match="not overwritten"):
        merge(delta, checkpoint, checkpoint.parent)

    def broken(now: int, total: int) -> None:
        if now == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(delta, checkpoint, tmp_path / "new", progress=broken)
    (checkpoint / MERGED).write_text("{}")
    with pytest.raises(InvalidInputError, match="does not say which deltas"):
        merge(delta, checkpoint, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_quantised_and_lost_tensors_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    delta = made(loaded(checkpoint))
    name = delta.names()[0]
    [shard] = [p for p in checkpoint.glob("*.safetensors") if name in load_file(p)]
    tensors = load_file(shard)
    save_file({**tensors, name: tensors[name].to(torch.float8_e4m3fn)}, shard)
    with pytest.raises(InvalidInputError, match="quantised"):
        merge(delta, checkpoint, tmp_path / "new", any_base=True)
    del tensors[name]
    save_file(tensors, shard)
    with pytest.raises(InvalidInputError, match="is not in the checkpoint"):
        merge(delta, checkpoint, tmp_path / "new", any_base=True)
