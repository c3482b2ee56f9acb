"""Which tensors are written into a server, against a model to which the deltas are applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from memedit.adapters.vllm_plugin.weights import whole_tensors
from memedit.errors import InvalidInputError
from memedit.modeling.checkpoint import Checkpoint
from memedit.modeling.delta import LowRank, WeightDelta

PACKED = {
    "qkv_proj": ["q_proj", "k_proj", "v_proj"],
    "gate_up_proj": ["gate_proj", "up_proj"],
}
DOWN = "model.layers.0.mlp.down_proj.weight"
KEYS = "model.layers.1.self_attn.k_proj.weight"


@pytest.fixture
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return Checkpoint(tiny_checkpoint)


def delta(seed: int, *names: str, checkpoint: Checkpoint) -> WeightDelta:
    random = torch.Generator().manual_seed(seed)
    changes: dict[str, Any] = {}
    for name in names:
        rows, columns = checkpoint.read(name).shape
        if seed % 2:
            changes[name] = torch.randn(rows, columns, generator=random)
        else:
            changes[name] = LowRank(
                torch.randn(rows, 2, generator=random), torch.randn(2, columns, generator=random)
            )
    return WeightDelta(changes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_is_what_applying_leaves(checkpoint: Checkpoint, dtype: Any) -> None:
    deltas = [delta(1, DOWN, KEYS, checkpoint=checkpoint), delta(2, DOWN, checkpoint=checkpoint)]
    model: Any = transformers.LlamaForCausalLM.from_pretrained(checkpoint.folder, dtype=dtype)
    for one in deltas:
        one.apply(model)
    tensors = whole_tensors(checkpoint, deltas, (), dtype, PACKED)
    assert sorted(tensors) == sorted(
        [DOWN, *(f"model.layers.1.self_attn.{part}_proj.weight" for part in "qkv")]
    )
    for name, tensor in tensors.items():
        assert tensor.dtype == dtype and torch.equal(tensor, model.get_parameter(name))


def test_what_was_changed_before_is_written_as_it_was(checkpoint: Checkpoint) -> None:
    tensors = whole_tensors(checkpoint, [], {DOWN}, torch.float32, PACKED)
    assert list(tensors) == [DOWN] and torch.equal(tensors[DOWN], checkpoint.read(DOWN))
    assert whole_tensors(checkpoint, [], (), torch.float32, PACKED) == {}


def test_what_does_not_fit_is_refused(checkpoint: Checkpoint) -> None:
    for name, shape, reason in (
        ("model.layers.7.mlp.down_proj.weight", (2, 2), "no parameter"),
        (DOWN, (2, 2), "has shape"),
        ("model.layers.0.mlp.experts.1.weight", (2, 2), "weights of experts"),
    ):
        with pytest.raises(InvalidInputError, match=reason):
            wrong = WeightDelta({name: torch.ones(shape)})
            whole_tensors(checkpoint, [wrong], (), torch.float32, PACKED)
    huge = WeightDelta({DOWN: torch.full((32, 48), 3e38)})
    with pytest.raises(InvalidInputError, match="does not fit"):
        whole_tensors(checkpoint, [huge], (), torch.float16, PACKED)


def test_tied_weights_are_written_under_the_name_that_is_stored(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    change = WeightDelta({"lm_head.weight": torch.ones(20, 8)})
    tensors = whole_tensors(Checkpoint(tmp_path), [change], (), torch.float32, PACKED)
    assert list(tensors) == ["model.embed_tokens.weight"]
