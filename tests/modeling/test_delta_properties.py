"""Whatever is applied, taken back and composed, in whatever order: every bit comes back."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.errors import ConflictError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import Applied, LowRank, WeightDelta
from memedit.modeling.delta_compose import compose
from memedit.modeling.fingerprint import tensor_digest
from tests.modeling.families import tiny_model

LARGEST_RANK = 32
steps = st.lists(
    st.tuples(
        st.sampled_from(["apply", "apply", "revert", "out of order", "compose"]),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=100,
)


@cache
def model_in(dtype: torch.dtype) -> Any:
    return tiny_model("llama", dtype)


@cache
def first_deltas() -> tuple[WeightDelta, ...]:
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int) -> torch.Tensor:
        return 0.1 * torch.randn(shape, generator=generator)

    down = [layer.down for layer in architecture(model_in(torch.float32)).layers]
    rows, columns = down[0].weight.shape
    return (
        WeightDelta({down[0].name: draw(rows, columns)}),
        WeightDelta({down[1].name: LowRank(draw(rows, 1), draw(1, columns))}),
        WeightDelta({one.name: LowRank(draw(rows, 3), draw(3, columns)) for one in down}),
        WeightDelta(
            {down[2].name: draw(rows, columns).bfloat16(), "lm_head.weight": draw(300, 32)}
        ),
    )


def rank_of(delta: WeightDelta) -> int:
    low = [c.left.shape[1] for c in delta.changes.values() if isinstance(c, LowRank)]
    return max(low, default=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(max_examples=25)
@given(steps=steps)
def test_every_bit_comes_back(dtype: torch.dtype, steps: list[tuple[str, int, int]]) -> None:
    model = model_in(dtype)
    before = {name: tensor_digest(p) for name, p in model.named_parameters()}
    deltas = list(first_deltas())
    stack: list[tuple[WeightDelta, Applied, dict[str, bytes]]] = []
    for step, one, other in steps:
        if step == "apply":
            delta = deltas[one % len(deltas)]
            there = {name: tensor_digest(model.get_parameter(name)) for name in delta.names()}
            stack.append((delta, delta.apply(model), there))
        elif step == "revert" and stack:
            _, applied, there = stack.pop()
            applied.revert()
            for name, digest in there.items():
                assert tensor_digest(model.get_parameter(name)) == digest
        elif step == "out of order" and stack:
            place = one % len(stack)
            delta, applied, _ = stack[place]
            later = {name for above, _, _ in stack[place + 1 :] for name in above.names()}
            if later & set(delta.names()):
                there = {name: tensor_digest(p) for name, p in model.named_parameters()}
                with pytest.raises(ConflictError):
                    applied.revert()
                assert {name: tensor_digest(p) for name, p in model.named_parameters()} == there
        elif step == "compose":
            pair = [deltas[one % len(deltas)], deltas[other % len(deltas)]]
            if sum(map(rank_of, pair)) <= LARGEST_RANK:
                deltas.append(compose(pair))
    while stack:
        stack.pop()[1].revert()
    assert {name: tensor_digest(p) for name, p in model.named_parameters()} == before
