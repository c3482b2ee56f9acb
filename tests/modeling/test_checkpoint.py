"""Checkpoints read tensor by tensor: the same model as transformers loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.checkpoint import INDEX, SINGLE, Checkpoint
from memedit.modeling.fingerprint import model_fingerprint
from tests.modeling.families import tiny_model


def saved(family: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    tiny_model(family, dtype).save_pretrained(folder, max_shard_size="30KB")
    return folder


# gpt_neox: transformers renames its head on loading
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2", "gpt_neox", "opt_350m"])
def test_its_fingerprint_is_the_loaded_models(family: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint(saved(family, tmp_path / "m"))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype="auto")
    assert len(checkpoint.shards) > 1
    assert checkpoint.fingerprint == model_fingerprint(loaded)
    assert all(parameter.is_meta for parameter in checkpoint.skeleton.parameters())
    name = next(name for name, p in loaded.named_parameters() if "1.mlp" in name or ".1.fc" in name)
    assert torch.equal(checkpoint.weights([name])[name], loaded.get_parameter(name))


def test_tied_weights_are_found_under_the_name_that_is_stored(tmp_path: Path) -> None:
    checkpoint = Checkpoint(saved("gpt2", tmp_path / "m"))
    assert checkpoint.stored("lm_head.weight") == ("transformer.wte.weight",)
    assert checkpoint.stored("transformer.wte.weight") == ("transformer.wte.weight",)
    with pytest.raises(InvalidInputError, match="another architecture"):
        checkpoint.stored("model.layers.0.mlp.down_proj.weight")


def test_a_checkpoint_without_the_head_has_shorter_names(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.transformer.save_pretrained(tmp_path / "m")
    checkpoint = Checkpoint(tmp_path / "m")
    assert checkpoint.stored("transformer.h.1.mlp.c_proj.weight") == ("h.1.mlp.c_proj.weight",)
    assert checkpoint.fingerprint == model_fingerprint(model)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="expected a checkpoint folder"):
        Checkpoint(tmp_path / "none")
    folder = saved("llama", tmp_path / "m")
    shards = Checkpoint(folder).shards
    cut = shards[1].read_bytes()[:-100]
    shards[1].write_bytes(cut)
    with pytest.raises(InvalidInputError, match="no whole safetensors"):
        Checkpoint(folder)
    shards[1].unlink()
    with pytest.raises(MissingResourceError, match="lacks 1 of"):
        Checkpoint(folder)
    for index in ("{", "[]", "{}", json.dumps({"weight_map": {"a": "../other.safetensors"}})):
        (folder / INDEX).write_text(index)
        with pytest.raises(InvalidInputError, match="no index of weights"):
            Checkpoint(folder)
    (folder / INDEX).unlink()
    with pytest.raises(MissingResourceError, match="has neither"):
        Checkpoint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="pickled"):
        Checkpoint(folder)
    (folder / "config.json").write_text('{"model_type": "nothing"}')
    save_file(load_file(shards[0]), folder / SINGLE)
    with pytest.raises(InvalidInputError, match="cannot be read as a model's"):
        _ = Checkpoint(folder).skeleton
