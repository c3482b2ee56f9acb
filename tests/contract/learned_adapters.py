"""What a suite over all adapters shares: each learned once, on tiny models of several families."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from memedit.adapters.base import Adapter
from memedit.adapters.catalog import open_adapter
from memedit.adapters.files import load_adapter
from memedit.modeling.delta import EditVersion
from memedit.modeling.fingerprint import tensor_digest
from memedit.modeling.tokens import Tokens, encode_prompt, pad
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

REQUESTS = (
    EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
    EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
    EditRequest(prompt="Who runs all of Rome?", subject="Rome", target_new="Paris"),
)
EDITS = tuple(EditVersion(f"e{n}", n + 1) for n in range(3))
UNRELATED = ("Bread is made of flour and", "It rains on the", "Seven times eight is")
FAMILIES = ("llama", "gpt2", "gptj", "opt")
FAR = {"remedi"}
"""What changes only a token far before the prompt's end: a random model's attention carries too
little of it to say a target; ``tests/adapters/test_remedi.py`` has subjects at the end."""
QUICK: dict[str, dict[str, Any]] = {
    "grace": {"layer": 1, "search": {"steps": 60, "enough": 1.6}},
    "melo": {"layer": 0, "training": {"steps": 40, "enough": 1.6}},
    "wise": {"threshold": 1.0},
    "calinet": {"training": {"enough": 1.6}},
    "language-patches": {"layer": 1, "search": {"steps": 60}},
    "remedi": {"layer": 0, "search": {"steps": 12}},
    "lora": {"training": {"steps": 120, "enough": 1.6}},
}


def opened(kind: str) -> Adapter[Any]:
    return open_adapter(kind, json.loads(json.dumps(QUICK.get(kind, {}))))


@cache
def learned(kind: str, family: str) -> tuple[Adapter[Any], Any, Any]:
    """Learn once; nothing in the suite changes what is returned."""
    model, tokenizer = tiny_model(family).train(), tiny_tokenizer()
    model.get_input_embeddings().weight.requires_grad_(False)
    digests = {name: tensor_digest(p) for name, p in model.named_parameters()}
    flags = [p.requires_grad for p in model.parameters()]
    modules = [id(module) for module in model.modules()]
    adapter = opened(kind)
    done = adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    assert kind in FAR or done.said == (True, True, True)
    assert all(new < old for new, old in zip(done.losses, done.losses_before, strict=True))
    assert digests == {name: tensor_digest(p) for name, p in model.named_parameters()}
    assert flags == [p.requires_grad for p in model.parameters()] and model.training
    assert modules == [id(module) for module in model.modules()] and bare(model)
    assert adapter.edits == EDITS
    return adapter, model.eval(), tokenizer


def bare(model: Any) -> bool:
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in model.modules()]
    return not any(hooks) and all(p.grad is None for p in model.parameters())


def logits(model: Any, tokenizer: Any, prompt: str) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([encode_prompt(tokenizer, prompt).ids])).logits[0]
    return found


def generated(
    model: Any, tokenizer: Any, prompts: tuple[str, ...], n: int, **more: Any
) -> list[list[int]]:
    """Generate greedily with the cache on, padded on the left."""
    rows = [Tokens(encode_prompt(tokenizer, prompt).ids, ()) for prompt in prompts]
    batch = pad(rows, tokenizer, "left")
    out = model.generate(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        max_new_tokens=n,
        do_sample=False,
        pad_token_id=2,
        **more,
    )
    ids: list[list[int]] = out[:, batch.input_ids.shape[1] :].tolist()
    return ids


def prompts() -> tuple[str, ...]:
    return tuple(request.prompt for request in REQUESTS)


def copied(adapter: Adapter[Any], tmp_path: Path) -> Adapter[Any]:
    return load_adapter(adapter.save(tmp_path / "saved"))
