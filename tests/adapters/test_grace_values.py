"""The search for values: what is stuck begins again elsewhere, and takes nothing from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memedit.adapters.grace_values import SearchConfig, search_values
from memedit.errors import InvalidInputError
from memedit.modeling.tokens import Batch, Tokens
from tests.modeling.families import tiny_tokenizer

UP, STUCK, OTHER, TARGET = 1, 2, 3, 4
ROWS = [Tokens((UP, OTHER), (TARGET,)), Tokens((STUCK, OTHER), (TARGET,))]
STARTS = torch.tensor([[1.0], [1.0]])


class Landscape(nn.Module):
    """Says the target where a row's value lies well: above 1.2, or, for `STUCK`, below -0.5.

    On its own side `STUCK` has a hill that is too low, so that every small step ends on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.somewhere = nn.Linear(1, 1)  # tells the device
        self.value = torch.zeros(0, 1)
        self.asked: list[int] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        x = self.value[:, 0]
        self.asked.append(len(x))
        easy = 2 * (x - 1.2)
        hard = 3 * torch.sigmoid(-8 * (x + 0.5)) + 0.9 * torch.exp(-((x - 2) ** 2)) - 1
        wanted = torch.where(input_ids[:, 0] == UP, easy, hard)
        logits = torch.full((*input_ids.shape, 6), -9.0)
        logits[..., OTHER] = 0.0
        logits[..., TARGET] = wanted[:, None]
        return type("Output", (), {"logits": logits})()


def found(config: SearchConfig, rows: Sequence[Tokens], starts: Tensor) -> tuple[Any, Landscape]:
    model = Landscape()

    @contextmanager
    def put(part: Sequence[int], batch: Batch, values: Tensor) -> Iterator[None]:
        for n, ids in zip(part, batch.input_ids[:, 0].tolist(), strict=True):
            assert ids == rows[n].prompt[0]  # a restart still says which rows it is about
        model.value = values
        yield

    told: list[tuple[int, int]] = []
    result = search_values(
        model, tiny_tokenizer(), rows, starts, put, config, lambda *at: told.append(at)
    )
    assert told == sorted(told) and told[-1][0] == told[-1][1] == told[0][1]
    return result, model


def test_what_is_stuck_begins_again_on_the_other_side() -> None:
    once, _ = found(SearchConfig(steps=40), ROWS, STARTS)
    assert once.values[0] > 1.2 and 1.5 < once.values[1] < 2.5  # on the low hill
    again, model = found(SearchConfig(steps=40, restarts=3), ROWS, STARTS)
    assert again.values[1] < -0.5 and again.steps > once.steps
    assert torch.equal(again.values[0], once.values[0])  # found at once, never touched again
    assert model.asked[-1] == 1
    assert again.before == once.before


def test_a_batch_finds_what_its_edits_would_find_alone() -> None:
    config = SearchConfig(steps=40, restarts=3)
    both, _ = found(config, ROWS, STARTS)
    for n in range(2):
        alone, _ = found(config, ROWS[n : n + 1], STARTS[n : n + 1])
        assert torch.allclose(alone.values[0], both.values[n], atol=1e-6)


def test_what_no_start_finds_keeps_the_best_that_was_seen() -> None:
    config = SearchConfig(steps=2, rate=0.01, restarts=2)
    once, _ = found(SearchConfig(steps=2, rate=0.01), ROWS[:1], STARTS[:1])
    again, _ = found(config, ROWS[:1], STARTS[:1])
    assert float(once.values[0]) < 1.2
    assert again.values[0] >= once.values[0]  # the opposite side says it even less
    with pytest.raises(InvalidInputError, match="restarts -1: expected 0 or more"):
        SearchConfig(restarts=-1)
