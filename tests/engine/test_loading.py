from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MambaConfig, MambaForCausalLM

from memedit.engine.loading import load_model, need_models_extra
from memedit.errors import InvalidInputError, MissingResourceError


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_what_is_known_of_a_model(checkpoint: Path) -> None:
    loaded = load_model(checkpoint)
    assert loaded.name == checkpoint.name
    assert (loaded.max_length, loaded.stop_ids, loaded.vocab_size) == (256, {1}, 400)
    assert loaded.model.dtype == torch.float32 or loaded.device.type != "cpu"
    assert not loaded.model.training
    assert dict(loaded.defaults) == {}
    assert load_model(checkpoint, dtype="bfloat16", device="cpu").model.dtype == torch.bfloat16


def test_defaults_are_what_the_checkpoint_states(folder: Path) -> None:
    file = folder / "generation_config.json"
    stated = json.loads(file.read_text())
    file.write_text(
        json.dumps({**stated, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [3, 1]})
    )
    loaded = load_model(folder)
    assert dict(loaded.defaults) == {"temperature": 0.6, "top_p": 0.9}
    assert loaded.stop_ids == {1, 3}


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "model.safetensors"),
        ("tokenizer.json", "tokenizer"),
    ],
)
def test_a_missing_file_is_named(folder: Path, file: str, said: str) -> None:
    (folder / file).unlink()
    with pytest.raises(MissingResourceError, match=said):
        load_model(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(MissingResourceError, match=r"1 of 2 weight files: model-2\.safetensors"):
        load_model(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="nothing is downloaded"):
        load_model(tmp_path / "absent")


def test_a_missing_tensor_is_no_random_number(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInputError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_file(folder: Path, file: str) -> None:
    (folder / file).write_bytes(b"\x00{ no")
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        load_model(folder)


def test_a_model_without_a_cache(folder: Path) -> None:
    config = MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=400)
    MambaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(InvalidInputError, match="MambaForCausalLM"):
        load_model(folder)


@pytest.mark.parametrize("given", [{"dtype": "int8"}, {"device": "toaster"}])
def test_bad_arguments(checkpoint: Path, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(given.values()))):
        load_model(checkpoint, **given)


def test_a_device_that_is_not_there(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingResourceError, match="cuda"):
        load_model(checkpoint, device="cuda:0")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingResourceError, match=r"memedit\[models\]"):
        need_models_extra()
