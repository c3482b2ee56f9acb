"""LoRA by peft: what is saved is PEFT's, and a model with PEFT in it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from memedit.adapters.blocks import TrainingConfig
from memedit.adapters.lora import Lora, LoraSettings
from memedit.errors import ConflictError, InvalidInputError, SettingsError
from memedit.modeling.tokens import encode_prompt
from tests.adapters.test_melo import EDITS, REQUESTS
from tests.modeling.families import tiny_model, tiny_tokenizer

QUICK = TrainingConfig(steps=3)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_saved_is_a_peft_adapter(family: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    adapter = Lora(LoraSettings(layers=(0, 2), training=QUICK))
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    adapter.save(tmp_path / "lora")
    ids = torch.tensor([encode_prompt(tokenizer, REQUESTS[0].prompt).ids])
    with adapter.attached(model), torch.no_grad():
        own = model(ids).logits
    loaded: Any = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path / "lora"))
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, own, atol=1e-5)
    assert not hasattr(model, "peft_config")


def test_other_modules_can_be_named() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    target = "model.layers.1.self_attn.q_proj"
    adapter = Lora(LoraSettings(targets=(target,), training=QUICK))
    adapter.learn(model, tokenizer, REQUESTS)
    assert adapter.factors is not None
    assert {name.split(".lora_")[0] for name in adapter.factors} == {f"base_model.model.{target}"}
    for strange in ("q_proj", "model.norm"):
        with pytest.raises(SettingsError, match=r"full names, such as 'model.layers.0.mlp.down_"):
            Lora(LoraSettings(targets=(strange,), training=QUICK)).learn(model, tokenizer, REQUESTS)


def test_a_model_with_adapters_in_it_is_refused_and_deletion_needs_the_model() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = Lora(LoraSettings(training=QUICK))
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    with adapter.attached(model), pytest.raises(ConflictError, match="detach"):
        adapter.learn(model, tokenizer, REQUESTS[:1])
    with pytest.raises(InvalidInputError, match="give the model"):
        adapter.delete("e0")
    assert adapter.edits == tuple(EDITS)
    with pytest.raises(InvalidInputError, match="rank 0"):
        LoraSettings(rank=0)


def test_a_layer_is_short_for_one_of_layers() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = Lora(LoraSettings(layer=1, training=QUICK))
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    assert adapter.factors is not None
    assert {name.split("layers.")[1][0] for name in adapter.factors} == {"1"}
    with pytest.raises(InvalidInputError, match="expected one of the three"):
        LoraSettings(layer=1, layers=(2,))
