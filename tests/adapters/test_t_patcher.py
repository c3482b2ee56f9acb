"""T-Patcher: neurons that fire on their own tokens, and are told apart from all others."""

from __future__ import annotations

import pytest
import torch

from memedit.adapters.neuron_memory import MemoryConfig, look_at
from memedit.adapters.neuron_training import NeuronConfig
from memedit.adapters.neurons import Neurons, joined
from memedit.adapters.t_patcher import TPatcher, TPatcherConfig
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

REQUESTS = (
    EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
    EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
    EditRequest(prompt="Who runs all of Rome?", subject="Rome", target_new="Paris"),
)
EDITS = tuple(EditVersion(f"e{n}", 1) for n in range(3))
QUICK = TPatcherConfig(
    memory=MemoryConfig(texts=8, tokens=12, contexts=2), search=NeuronConfig(steps=40, enough=1.6)
)


def drawn(count: int, seed: int = 3) -> Neurons:
    draw = torch.Generator().manual_seed(seed)
    return Neurons(
        torch.randn(count, 8, generator=draw),
        torch.randn(count, generator=draw) - 2,
        torch.randn(count, 5, generator=draw),
    )


def test_what_is_added_is_the_relu_of_heights_and_the_same_beside_other_neurons() -> None:
    neurons, queries = drawn(6), torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    added, fired = neurons.added(queries)
    dense = neurons.heights(queries).relu() @ neurons.values
    assert torch.allclose(added, dense, atol=1e-5)
    assert torch.equal(fired, (neurons.heights(queries) > 0).any(1)) and 0 < int(fired.sum()) < 40
    assert not bool(added[~fired].any())
    beside = joined([neurons, Neurons(drawn(9, 4).keys, torch.full((9,), -99.0), drawn(9).values)])
    assert torch.equal(beside.added(queries)[0], added)
    assert torch.equal(neurons.added(queries[7:8])[0], added[7:8])


def test_a_raised_threshold_changes_nothing_at_the_own_query() -> None:
    key = torch.zeros(3, 8)
    key[:, 0] = 1
    neurons = Neurons(key, torch.tensor([0.0, -3.0, 0.0]), torch.ones(3, 5))
    own = torch.zeros(3, 8)
    own[:, 0] = 4
    memory = torch.zeros(3, 8)
    memory[:, 0] = torch.tensor([2.0, -1.0, 4.0])  # the last one is the own query itself
    quiet = neurons.quieted(own, memory)
    assert torch.equal(quiet.biases, torch.tensor([-3.0, -3.0, -3.0]))
    assert not bool(quiet.added(memory[:2])[1].any())
    alone = [n.added(own[:1])[0] for n in quiet.split([1, 1, 1])]
    assert [float(one[0, 0]) for one in alone] == [4.0, 1.0, 4.0]
    same = memory + torch.eye(3, 8).flip(1)  # as high, though another query
    same[:, 0] = 4
    assert torch.equal(neurons.quieted(own, same).biases, neurons.biases)


def test_a_fact_of_two_edits_has_its_neurons_once() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = TPatcher(QUICK)
    longer = REQUESTS[1].model_copy(update={"target_new": "France or Rome"})
    again = EditRequest(prompt=longer.prompt, subject="Lyon", target_new=longer.target_new)
    ids = [EditVersion(name, 1) for name in ("a", "b", "c")]
    adapter.learn(model, tokenizer, [REQUESTS[0], longer, again], edits=ids)
    assert adapter.layer == 2
    assert [patch.edits for patch in adapter.patches] == [("a",), ("b", "c")]
    tokens = adapter.tokens(tokenizer, longer).target
    assert [len(patch.neurons) for patch in adapter.patches] == [1, len(tokens)]
    done = adapter.learn(model, tokenizer, [again], edits=[EditVersion("d", 1)])
    assert done.steps == 0 and adapter.patches[1].edits == ("b", "c", "d")
    for name in ("b", "d"):
        adapter.delete(name)
    assert [patch.edits for patch in adapter.patches] == [("a",), ("c",)]
    adapter.delete("c")
    assert [patch.edits for patch in adapter.patches] == [("a",)]


def test_another_answer_takes_the_place_and_earlier_neurons_fall_silent_on_new_tokens() -> None:
    model, tokenizer = tiny_model("gptj"), tiny_tokenizer()
    adapter = TPatcher(QUICK)
    adapter.learn(model, tokenizer, REQUESTS[:2], edits=EDITS[:2])
    before = adapter.patches
    other = REQUESTS[0].model_copy(update={"target_new": "France"})
    done = adapter.learn(
        model, tokenizer, [other, REQUESTS[2]], edits=[EditVersion("x", 1), EDITS[2]]
    )
    assert done.replaced == (EDITS[0],)
    assert [edit.id for edit in adapter.edits] == [EDITS[1].id, "x", EDITS[2].id]
    assert before[0].edits == (EDITS[0].id,)  # what was there is not changed, but replaced
    mlp = architecture(model).layer(adapter.layer).mlp
    rows = [adapter.tokens(tokenizer, one) for one in (other, REQUESTS[2])]
    for one in look_at(model, tokenizer, mlp, rows, 8):
        assert not bool(adapter.patches[0].neurons.added(one.queries)[1].any())


def test_misuse_is_said() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer(bos=False)
    single = EditRequest(prompt="a", subject="a", target_new="Rome")
    with pytest.raises(InvalidInputError, match="single token"):
        TPatcher(QUICK).learn(model, tokenizer, [single])
    with pytest.raises(InvalidInputError, match="texts -1"):
        MemoryConfig(texts=-1)
    with pytest.raises(InvalidInputError, match="top 0"):
        NeuronConfig(top=0)
    alone = TPatcherConfig(layer=1, memory=MemoryConfig(texts=0), search=NeuronConfig(steps=2))
    adapter = TPatcher(alone)
    adapter.learn(model, tokenizer, REQUESTS[:1])
    assert adapter.layer == 1 and len(adapter.patches) == 1
