"""CaliNET: slots that add nothing at first, and that all edits share."""

from __future__ import annotations

import pytest
import torch

from memedit.adapters.blocks import TrainingConfig
from memedit.adapters.calinet import Calinet, CalinetConfig, Slots
from memedit.adapters.neuron_memory import Seen
from memedit.errors import InvalidInputError
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

REQUESTS = (
    EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
    EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
)
EDITS = (EditVersion("e0", 1), EditVersion("e1", 1))
QUICK = CalinetConfig(training=TrainingConfig(enough=1.6))


def test_new_slots_add_nothing_and_then_gelu_of_the_heights_times_the_values() -> None:
    queries = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    slots = Slots.begun(7, [Seen(queries, 0, torch.randn(5, 4))], 0)
    assert slots.keys.shape == (7, 6) and not bool(slots.values.any())
    mlp = torch.nn.Linear(6, 4)
    plain = mlp(queries)
    with slots.at_work(mlp):
        assert torch.equal(mlp(queries), plain)
    filled = Slots(slots.keys, torch.ones(7, 4))
    with filled.at_work(mlp):
        added = mlp(queries) - plain
    heights = torch.nn.functional.gelu(queries @ slots.keys.T)
    assert torch.allclose(added, heights.sum(1, keepdim=True).expand(5, 4), atol=1e-5)
    assert torch.equal(mlp(queries), plain) and not mlp._forward_hooks


def test_a_later_batch_keeps_what_is_held_and_another_answer_takes_its_place() -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    adapter = Calinet(QUICK)
    adapter.learn(model, tokenizer, REQUESTS[:1], edits=EDITS[:1])
    assert adapter.layer == 2
    adapter.learn(model, tokenizer, REQUESTS[1:], edits=EDITS[1:])
    again = adapter.learn(model, tokenizer, REQUESTS[:1], edits=[EditVersion("e2", 1)])
    assert again.steps == 0 and again.said == (True,)  # it was not lost
    with pytest.raises(InvalidInputError, match="give the model"):
        adapter.delete("e0")
    assert len(adapter.edits) == 3
    other = REQUESTS[0].model_copy(update={"target_new": "France"})
    done = adapter.learn(model, tokenizer, [other], edits=[EditVersion("x", 1)])
    assert {edit.id for edit in done.replaced} == {"e0", "e2"} and done.said == (True,)
    assert [edit.id for edit in adapter.edits] == ["e1", "x"]
    with pytest.raises(InvalidInputError, match="slots 0"):
        CalinetConfig(slots=0)
