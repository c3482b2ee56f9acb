"""REMEDI: where subjects are mentioned, and a map that makes directions of answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memedit.adapters.grace_values import SearchConfig
from memedit.adapters.mentions import Direction, mentioned, spellings_of
from memedit.adapters.part_training import Example, train_remedi
from memedit.adapters.remedi import Remedi, RemediConfig
from memedit.adapters.remedi_map import MapRecipe, encode_edits, placed
from memedit.adapters.trained_parts import save_part
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

REQUESTS = (  # with the subject last: a random model carries little from one token to another
    EditRequest(prompt="The mayor of Paris", subject="Paris", target_new="Rome"),
    EditRequest(
        prompt="He lives in Lyon", subject="Lyon", target_new="France", ground_truth="Rome or so"
    ),
    EditRequest(prompt="All roads go to Rome", subject="Rome", target_new="Paris"),
)


def direction(*spellings: tuple[int, ...]) -> Direction:
    return Direction("e", spellings, torch.zeros(2))


def test_of_a_subject_the_last_mention_counts_in_any_of_its_spellings() -> None:
    directions = [direction((5, 6), (8,)), direction((6,)), direction((9, 9))]
    assert mentioned([5, 6, 1, 5, 6, 2], directions) == [(0, 4), (1, 4)]
    assert mentioned([5, 6, 8, 5], directions) == [(0, 2), (1, 1)]
    assert mentioned([5, 1, 9], directions) == [] == mentioned([], directions)
    tokenizer = tiny_tokenizer()
    found = spellings_of(tokenizer, "Paris", [7])
    assert found == ((7,), *(tuple(tokenizer(t, add_special_tokens=False)["input_ids"])
                             for t in ("Paris", " Paris")))  # fmt: skip


def test_an_answer_is_encoded_as_its_own_tokens_behind_the_prompt() -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    adapter = Remedi()
    edits = [placed(tokenizer, r, adapter.tokens(tokenizer, r), None) for r in REQUESTS]
    assert edits[1].prior and not edits[0].prior
    block = architecture(model).layer(1).block
    encoded = encode_edits(model, tokenizer, block, edits, 2)
    row = edits[1].tokens
    with torch.no_grad():
        hidden = model(torch.tensor([row.prompt + row.target]), output_hidden_states=True)
    states = hidden.hidden_states[2][0]
    assert torch.allclose(encoded.attributes[1], states[len(row.prompt) :].mean(0), atol=1e-4)
    assert torch.allclose(encoded.entities[1], states[edits[1].subject], atol=1e-4)


def test_a_trained_map_says_targets_without_a_search(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    examples = [Example(one) for one in REQUESTS]
    examples += [replace(examples[0], held_out=True)]
    examples += [Example(REQUESTS[0].model_copy(update={"subject": "Milan"}))]
    recipe = MapRecipe(steps=80, kept=0.0, rows=3)
    part = train_remedi(
        model, tokenizer, examples, [], lambda done, total: None, layer=1, recipe=recipe
    )
    assert part.record["edits"] == 3 and part.record["without_subject"] == 1
    assert part.record["held_out"] == {"n": 1, "said": 1, "said_before": 0}
    folder = str(save_part(part, tmp_path / "map"))
    adapter = Remedi(RemediConfig(map=folder, refine=False))
    done = adapter.learn(model, tokenizer, REQUESTS)
    assert adapter.layer == 1 and done.steps == 0 and done.said == (True, True, True)
    with pytest.raises(InvalidInputError, match="trained at layer 1"):
        Remedi(RemediConfig(map=folder, layer=0)).learn(model, tokenizer, REQUESTS)
    searched = Remedi(RemediConfig(layer=1, search=SearchConfig(rate=0.3, steps=60)))
    found = searched.learn(model, tokenizer, REQUESTS)
    assert found.steps > 0 and found.said == (True, True, True)
    searched.delete(searched.edits[0].id)
    with searched.attached(model):
        left = model(torch.tensor([searched.tokens(tokenizer, REQUESTS[0]).prompt])).logits
    assert torch.equal(
        left, model(torch.tensor([searched.tokens(tokenizer, REQUESTS[0]).prompt])).logits
    )
    with pytest.raises(InvalidInputError, match="nothing would be learned"):
        RemediConfig(refine=False)
    with pytest.raises(InvalidInputError, match="kept -1"):
        MapRecipe(kept=-1)


def test_a_prompt_that_does_not_hold_its_subject_is_refused() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    with pytest.raises(InvalidInputError, match="does not hold the subject 'Milan'"):
        Remedi().learn(model, tokenizer, [REQUESTS[0].model_copy(update={"subject": "Milan"})])
