"""The look-up for mixed batches against the one that adapters do for themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memedit.adapters.codebook import Table
from memedit.adapters.vllm_plugin.grace_table import GraceTable

SLOTS, CAPACITY, WIDTH = 3, 5, 4


def table_of(random: torch.Generator, entries: int) -> Table:
    radii = torch.rand(entries, generator=random) * 2 - 0.3
    radii[radii < 0] = -1.0  # holes
    return Table(
        torch.randn(entries, WIDTH, generator=random),
        radii,
        torch.randn(entries, WIDTH, generator=random),
    )


def alone(table: Table | None, states: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    if table is None:
        return out
    found, near = table.nearest(states)
    return torch.where(near[:, None], table.values[found].to(out.dtype), out)


@given(
    seed=st.integers(0, 10_000),
    entries=st.lists(st.integers(0, CAPACITY), min_size=SLOTS, max_size=SLOTS),
    tokens=st.lists(st.integers(-1, SLOTS - 1), max_size=12),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_every_token_looks_up_in_its_own_adapter(
    seed: int, entries: list[int], tokens: list[int], dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(seed)
    slots = torch.full((20,), 7)  # what stands beyond the batch is of no batch
    slots[: len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    table = GraceTable(SLOTS, CAPACITY, WIDTH, slots, dtype)
    tables = [table_of(random, n) if n else None for n in entries]
    for slot, one in enumerate(tables):
        table.write(slot, one)
    states = torch.randn(len(tokens), WIDTH, generator=random).to(dtype)
    for n, slot in enumerate(tokens):  # some right at a key
        one = tables[slot] if slot >= 0 else None
        if one is not None and n % 2:
            states[n] = one.keys[n % len(one.keys)].to(dtype)
    out = torch.randn(len(tokens), WIDTH, generator=random).to(dtype)
    expected = out.clone()
    for n, slot in enumerate(tokens):
        if slot >= 0:
            expected[n] = alone(tables[slot], states[n : n + 1], out[n : n + 1])[0]
    for way in (table.look_up_by_slot, table.look_up_at_once, table.look_up):
        mine = out.clone()
        way(states, mine)
        assert torch.equal(mine, expected)


def test_a_slot_is_written_anew_whole() -> None:
    random = torch.Generator().manual_seed(1)
    slots = torch.zeros(4, dtype=torch.int64)
    table = GraceTable(SLOTS, CAPACITY, WIDTH, slots, torch.float32)
    first, second = table_of(random, CAPACITY), table_of(random, 1)
    table.write(0, first)
    table.write(0, second)
    assert table.used == [1, 0, 0]
    states, out = first.keys[:4], torch.zeros(4, WIDTH)
    for way in (table.look_up_by_slot, table.look_up_at_once):
        mine = out.clone()
        way(states, mine)
        assert torch.equal(mine, alone(second, states, out))
    table.write(0, None)
    for way in (table.look_up_by_slot, table.look_up_at_once):
        mine = out.clone()
        way(states, mine)
        assert torch.equal(mine, out)


def test_what_does_not_fit_leaves_its_slot_empty() -> None:
    random = torch.Generator().manual_seed(2)
    table = GraceTable(1, 2, WIDTH, torch.zeros(1, dtype=torch.int64), torch.float32)
    table.write(0, table_of(random, 2))
    with pytest.raises(ValueError, match="3 entries, expected at most 2"):
        table.write(0, table_of(random, 3))
    assert table.used == [0] and bool((table.radii < 0).all())
    wide = Table(torch.ones(1, 9), torch.ones(1), torch.ones(1, 9))
    with pytest.raises(ValueError, match="keys of 9 and values of 9 numbers, expected 4"):
        table.write(0, wide)


def test_keys_and_radii_are_exact_in_a_model_of_another_type() -> None:
    """vLLM makes the tables while the model's type is the process's default."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        table = GraceTable(
            SLOTS, CAPACITY, WIDTH, torch.zeros(4, dtype=torch.int64), torch.bfloat16
        )
    finally:
        torch.set_default_dtype(torch.float32)
    assert {t.dtype for t in (table.keys, table.squares, table.radii)} == {torch.float32}
    assert table.values.dtype == torch.bfloat16
