"""WISE: masks, merging, the router, and what is left when an edit goes."""

from __future__ import annotations

import pytest
import torch

from memedit.adapters.neuron_memory import MemoryConfig
from memedit.adapters.shard_training import ShardConfig, hardest
from memedit.adapters.side_memories import Shard, SideMemories, dense, mask_of, ties
from memedit.adapters.swapped_subjects import made_names, swapped
from memedit.adapters.wise import Wise, WiseConfig
from memedit.errors import InvalidInputError
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

REQUESTS = (
    EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
    EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
    EditRequest(prompt="Who runs all of Rome?", subject="Rome", target_new="Paris"),
)
EDITS = tuple(EditVersion(f"e{n}", 1) for n in range(3))
QUICK = WiseConfig(
    layer=1,
    memory=MemoryConfig(texts=4, tokens=8, contexts=2),
    training=ShardConfig(steps=12, hardest=8),
)


def test_a_mask_is_the_same_for_ever_and_a_shard_must_fill_it() -> None:
    mask = mask_of(3, (4, 6), 0.25)
    assert mask.flatten().nonzero()[:, 0].tolist() == [6, 7, 8, 10, 16, 23]
    shard = Shard("e", 3, torch.zeros(4), torch.arange(1.0, 7.0))
    whole = dense(shard, (4, 6), 0.25)
    assert torch.equal(whole[mask], shard.values) and not bool(whole[~mask].any())
    with pytest.raises(InvalidInputError, match="6 values"):
        dense(shard, (4, 6), 0.5)


def test_merging_elects_a_sign_and_takes_the_mean_of_those_that_agree() -> None:
    one = torch.tensor([[4.0, -1.0, 0.0, 0.0, 0.0, 0.0]])
    other = torch.tensor([[2.0, 3.0, 0.0, 0.0, 0.0, 5.0]])
    assert ties([one, other]).tolist() == [[3.0, 3.0, 0.0, 0.0, 0.0, 5.0]]
    assert torch.equal(ties([one]), one)
    full = torch.arange(1.0, 101.0)[None]  # of which the largest 53 are kept
    assert torch.equal(ties([full]), torch.where(full > 47, full, 0))


def test_a_prompt_goes_where_it_is_furthest_over_the_threshold_or_through_the_main_memory() -> None:
    changes = torch.zeros(2, 3, 2)
    changes[0, 0, 0], changes[1, 1, 1] = 1.0, 10.0
    side = SideMemories(changes, torch.tensor([1.0, 10.0]), torch.tensor([[3.0, 3.0, 0.0]]))
    keys = torch.tensor(
        [[2.0, 0.0, 5.0], [2.0, 3.0, 0.0], [0.5, 0.5, 9.0], [3.0, 3.0, 0.0], [3.0, 3.1, 0.0]]
    )
    assert side.chosen(keys).tolist() == [0, 1, -1, -1, 1]
    assert hardest(keys[0], keys[1:], 2).tolist() == [[0.5, 0.5, 9.0], [3.0, 3.0, 0.0]]


def test_prompts_about_others_are_made_of_subjects_and_of_text() -> None:
    tokenizer = tiny_tokenizer()
    texts = [tokenizer("a bc de f g", add_special_tokens=False)["input_ids"]]
    assert made_names(tokenizer, texts, 5) == ["a bc", "de f"]
    found = swapped(REQUESTS[0], ["Lyon", "Rome", "Paris"])  # not its subject, nor its answer
    assert found == ["The mayor of Lyon lives in"]
    assert swapped(REQUESTS[0].model_copy(update={"subject": "Milan"}), ["Lyon"]) == []


def test_shards_share_memories_and_what_is_deleted_leaves_nothing_but_a_hole() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = Wise(QUICK)
    adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
    assert sorted(name for one in adapter.memories for name in one) == ["e0", "e1", "e2"]
    assert max(len(one) for one in adapter.memories) <= adapter.config.merged
    assert len({shard.seed for shard in adapter.shards.values()}) == 3
    kept = adapter.shards["e2"]
    adapter.delete("e0")
    assert set(adapter.shards) == {"e1", "e2"} and len(adapter.holes) == 1
    assert torch.equal(adapter.shards["e2"].values, kept.values)
    other = REQUESTS[0].model_copy(update={"target_new": "France"})
    adapter.learn(model, tokenizer, [other], edits=[EditVersion("x", 1)])
    assert not adapter.holes and set(adapter.shards) == {"e1", "e2", "x"}
    done = adapter.learn(model, tokenizer, REQUESTS[:1], edits=[EditVersion("y", 1)])
    assert done.replaced == (EditVersion("x", 1),) and set(adapter.shards) == {"e1", "e2", "y"}


def test_misuse_is_said() -> None:
    for bad in ({"ratio": 0.0}, {"merged": 0}, {"threshold": 1.5}):
        with pytest.raises(
            InvalidInputError, match=f"{next(iter(bad))} {next(iter(bad.values()))}"
        ):
            WiseConfig(**bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="inside 0"):
        ShardConfig(inside=0)
