"""MELO beside PEFT: a folded block is the same LoRA; rows that come and go keep their blocks."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import LlamaForCausalLM

from memedit.adapters.blocks import TrainingConfig
from memedit.adapters.melo import Melo, MeloConfig
from memedit.errors import InvalidInputError, NotFoundError
from memedit.modeling.delta import EditVersion
from memedit.modeling.tokens import Tokens, encode_prompt, pad
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

REQUESTS = [
    EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
    EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
]
EDITS = [EditVersion("e0", 1), EditVersion("e1", 1)]
# transformers 5.24 gave the argument a new name
NAME = "cache" if "cache" in signature(LlamaForCausalLM.forward).parameters else "past_key_values"
QUICK = MeloConfig(layer=0, training=TrainingConfig(steps=8, enough=1.6))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_folded_block_is_what_peft_makes_of_it(family: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    adapter = Melo(QUICK)
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    for edit, request in zip(EDITS, REQUESTS, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, request.prompt).ids])
        with torch.no_grad():
            base = model(ids).logits
            with adapter.attached(model):
                own = model(ids).logits
        folder = tmp_path / edit.id
        assert adapter.fold(edit.id, folder, model).rank <= QUICK.rank
        loaded: Any = peft.PeftModel.from_pretrained(tiny_model(family), str(folder))
        with torch.no_grad():
            theirs = loaded(ids).logits
        assert torch.allclose(own, theirs, atol=2e-5)
        assert not torch.allclose(own, base, atol=1e-3)
    with pytest.raises(NotFoundError, match="no edit 'e9'"):
        adapter.block_of("e9")


def test_rows_that_leave_a_batch_take_their_choice_with_them() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = Melo(QUICK)
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    prompts = ["Bread is made of", REQUESTS[0].prompt, REQUESTS[1].prompt]
    rows = [Tokens(encode_prompt(tokenizer, prompt).ids, ()) for prompt in prompts]
    batch = pad(rows, tokenizer, "left")
    step = torch.tensor([[7], [7], [7]])
    with adapter.attached(model), torch.no_grad():
        alone = []
        for row in rows:
            first = model(torch.tensor([row.prompt]), use_cache=True)
            cache = first[NAME]
            alone.append(model(step[:1], **{NAME: cache}).logits[0, -1])
        first = model(batch.input_ids, attention_mask=batch.attention_mask,
                      position_ids=batch.position_ids, use_cache=True)  # fmt: skip
        cache = first[NAME]
        left = torch.tensor([2, 1])
        cache.batch_select_indices(left)
        mask = torch.cat([batch.attention_mask[left], torch.ones(2, 1, dtype=torch.long)], 1)
        now = model(
            step[:2],
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1)[:, -1:],
            **{NAME: cache},
        ).logits[:, -1]
        with pytest.raises(InvalidInputError, match="a cache of 2 prompts"):
            model(step, **{NAME: cache})
    assert torch.allclose(now, torch.stack([alone[2], alone[1]]), atol=2e-4)


def test_blocks_are_above_the_layer_that_is_looked_at() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    with pytest.raises(InvalidInputError, match="layers above it"):
        Melo(MeloConfig(layer=2)).learn(model, tokenizer, REQUESTS)
    with pytest.raises(InvalidInputError, match="layers above it"):
        Melo(MeloConfig(layer=1, layers=(0, 2))).learn(model, tokenizer, REQUESTS)
    with pytest.raises(InvalidInputError, match="above 0"):
        MeloConfig(rank=0)


def test_a_block_that_nobody_has_is_dropped() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = Melo(QUICK)
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    assert adapter.blocks is not None
    assert {len(pair.up) for pair in adapter.blocks.values()} == {2}
    adapter.delete("e0")
    assert {len(pair.up) for pair in adapter.blocks.values()} == {1}
    assert adapter.block_of("e1") == 0
