"""AdaLoRA: triplets are shared out, and what is left is a plain LoRA."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from torch import nn

from memedit.adapters.adalora import AdaLora, AdaLoraSettings, Triplets
from memedit.adapters.blocks import TrainingConfig
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Matrix
from memedit.modeling.tokens import encode_prompt
from tests.adapters.test_melo import EDITS, REQUESTS
from tests.modeling.families import tiny_model, tiny_tokenizer

QUICK = TrainingConfig(steps=12)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_saved_is_a_plain_lora_of_shared_out_ranks(family: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    adapter = AdaLora(AdaLoraSettings(rank=2, initial_rank=6, training=QUICK))
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    assert adapter.factors is not None
    ranks = [len(f) for name, f in adapter.factors.items() if ".lora_A." in name]
    assert sum(ranks) <= 2 * 3 + ranks.count(1) and len(set(ranks)) > 1
    adapter.save(tmp_path / "lora")
    ids = torch.tensor([encode_prompt(tokenizer, REQUESTS[0].prompt).ids])
    with adapter.attached(model), torch.no_grad():
        own = model(ids).logits
    loaded: Any = peft.PeftModel.from_pretrained(tiny_model(family), str(tmp_path / "lora"))
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, own, atol=1e-5)
    assert loaded.peft_config["default"].peft_type == "LORA"
    assert not hasattr(model, "peft_config")


def triplets(rank: int) -> Triplets:
    base = nn.Linear(16, 20)
    layer = SimpleNamespace(
        lora_A={"memedit": nn.Parameter(torch.zeros(rank, 16, dtype=torch.bfloat16))},
        lora_E={"memedit": nn.Parameter(torch.zeros(rank, 1))},
        lora_B={"memedit": nn.Parameter(torch.zeros(20, rank))},
        scaling={"memedit": 3.0},
        ranknum={"memedit": torch.tensor([6.0])},
    )
    return Triplets(layer, Matrix("layer.weight", base, transposed=False))


def test_a_second_batch_goes_on_from_the_first() -> None:
    draw = torch.Generator().manual_seed(5)
    down, up = torch.randn(3, 16, generator=draw), torch.randn(20, 3, generator=draw)
    one = triplets(6)
    one.begin((down, up), draw)
    assert one.away_from_orthonormal().item() < 1e-8
    assert int((one.values != 0).sum()) == 3
    again_down, again_up = one.folded()
    assert again_down.shape == (3, 16) and again_up.shape == (20, 3)
    assert torch.allclose(again_up @ again_down, up @ down, atol=1e-4)
    empty = triplets(6)
    empty.begin(None, draw)
    assert empty.away_from_orthonormal().item() < 1e-8
    nothing_down, nothing_up = empty.folded()
    assert len(nothing_down) == 1 and not bool((nothing_up @ nothing_down).any())
    with pytest.raises(InvalidInputError, match=r"more than layer\.weight has"):
        triplets(17)


def test_settings_that_leave_nothing_to_share_out_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="more triplets at the beginning"):
        AdaLoraSettings(rank=12)
    with pytest.raises(InvalidInputError, match="shares of the steps"):
        AdaLoraSettings(warmup=0.5, final=0.5)
    with pytest.raises(InvalidInputError, match="take more steps"):
        AdaLoraSettings(training=TrainingConfig(steps=2))
    with pytest.raises(InvalidInputError, match="rank 0"):
        AdaLoraSettings(rank=0)
