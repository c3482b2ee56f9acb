"""Fingerprints change with what is computed, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memedit.errors import MissingResourceError
from memedit.modeling.fingerprint import (
    checkpoint_fingerprint,
    model_fingerprint,
    tokenizer_fingerprint,
)
from tests.modeling.families import tiny_model, tiny_tokenizer


def test_a_model_is_its_numbers_whatever_dtype_they_were_loaded_in() -> None:
    rounded = tiny_model("llama", torch.bfloat16)
    assert model_fingerprint(rounded) == model_fingerprint(
        tiny_model("llama", torch.bfloat16).float()
    )
    assert model_fingerprint(rounded) != model_fingerprint(tiny_model("llama"))


def test_one_number_or_one_setting_makes_another() -> None:
    model = tiny_model("llama")
    before = model_fingerprint(model)
    assert before == model_fingerprint(tiny_model("llama")) and len(before) == 64
    model.config.rms_norm_eps = 1e-3
    assert model_fingerprint(model) != before
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] += 1e-3
    assert model_fingerprint(model) != before


def test_a_folder_is_its_bytes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("config.json", "model.safetensors"):
        (copied / name).write_bytes((tiny_checkpoint / name).read_bytes())
    before = checkpoint_fingerprint(tiny_checkpoint)
    assert checkpoint_fingerprint(copied) == before
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    assert checkpoint_fingerprint(copied) != before
    with pytest.raises(MissingResourceError, match=r"no \*\.safetensors"):
        checkpoint_fingerprint(tmp_path)


def test_a_tokenizer_is_how_it_cuts_and_renders() -> None:
    tokenizer = tiny_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "longer text"], padding=True)
    assert tokenizer_fingerprint(tokenizer) == before
    assert tokenizer_fingerprint(tiny_tokenizer(bos=False)) != before
    tokenizer.chat_template = "{{ messages }}"
    assert tokenizer_fingerprint(tokenizer) != before
