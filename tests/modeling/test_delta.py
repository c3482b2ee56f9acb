"""Deltas: applied, taken back bit for bit, inspected."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from memedit.errors import ConflictError, InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import LowRank, WeightDelta
from memedit.modeling.fingerprint import tensor_digest
from tests.modeling.families import tiny_model


def made(model: Any, seed: int, scale: float = 1.0) -> WeightDelta:
    generator = torch.Generator().manual_seed(seed)
    first, second = (layer.down for layer in architecture(model).layers[:2])
    rows, columns = second.weight.shape
    return WeightDelta(
        {
            first.name: scale * torch.randn(first.weight.shape, generator=generator),
            second.name: LowRank(
                scale * torch.randn((rows, 2), generator=generator),
                torch.randn((2, columns), generator=generator),
            ),
        }
    )


def bits(model: Any) -> dict[str, bytes]:
    return {name: tensor_digest(p) for name, p in model.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_taken_back_bit_for_bit(family: str, dtype: torch.dtype) -> None:
    model = tiny_model(family, dtype)
    before = bits(model)
    outer, inner = made(model, 1), made(model, 2, scale=50.0)
    with outer.applied(model):
        middle = bits(model)
        with inner.applied(model):
            assert bits(model) != middle
        assert bits(model) == middle != before
    assert bits(model) == before
    with pytest.raises(RuntimeError, match="inside"), outer.applied(model):
        raise RuntimeError("inside")
    assert bits(model) == before


def test_the_sum_is_rounded_once() -> None:
    model = tiny_model("llama", torch.bfloat16)
    delta = made(model, 3, scale=1e-2)
    for name in delta.names():
        expected = (model.get_parameter(name).double() + delta.dense(name).double()).bfloat16()
        with delta.applied(model):
            assert torch.equal(model.get_parameter(name), expected)


def test_out_of_order_is_refused_and_changes_nothing() -> None:
    model = tiny_model("llama")
    before = bits(model)
    first, second = made(model, 1).apply(model), made(model, 2).apply(model)
    both = bits(model)
    with pytest.raises(ConflictError, match="reverse order"):
        first.revert()
    assert bits(model) == both
    second.revert()
    first.revert()
    assert bits(model) == before
    with pytest.raises(ConflictError, match="already"):
        first.revert()


def test_what_does_not_fit_changes_nothing() -> None:
    model, other = tiny_model("llama"), tiny_model("gpt2")
    before = bits(model)
    with pytest.raises(InvalidInputError, match="another architecture"):
        made(other, 1).apply(model)
    name = made(model, 1).names()[0]
    with pytest.raises(InvalidInputError, match="another model"):
        WeightDelta({name: torch.zeros(2, 2)}).apply(model)
    with pytest.raises(InvalidInputError, match="no numbers"):
        WeightDelta({name: torch.full((2, 2), float("nan"))})
    with pytest.raises(InvalidInputError, match="do not fit"):
        LowRank(torch.zeros(3, 2), torch.zeros(3, 2))
    half = tiny_model("llama", torch.float16)
    huge = WeightDelta({name: torch.full(tuple(half.get_parameter(name).shape), 1e6)})
    kept = bits(half)
    with pytest.raises(InvalidInputError, match="left as it was"):
        huge.apply(half)
    assert bits(model) == before and bits(half) == kept


def test_tied_weights_are_not_changed_twice() -> None:
    model = tiny_model("gpt2")
    shape = tuple(model.transformer.wte.weight.shape)
    one = torch.ones(shape)
    with pytest.raises(InvalidInputError, match="tied"):
        WeightDelta({"transformer.wte.weight": one, "lm_head.weight": one}).apply(model)


def test_dense_is_the_product_of_the_factors() -> None:
    delta = made(tiny_model("llama"), 4)
    low = delta.changes[delta.names()[1]]
    assert isinstance(low, LowRank)
    torch.testing.assert_close(delta.dense(delta.names()[1]), low.left @ low.right)
    with pytest.raises(InvalidInputError, match="is not changed"):
        delta.dense("lm_head.weight")


def test_inspection_agrees_with_numbers_worked_out_by_hand() -> None:
    model = tiny_model("llama")
    name = architecture(model).layers[0].down.name
    change = torch.zeros(model.get_parameter(name).shape)
    change[0, 0], change[1, 1], change[2, 5] = 3.0, 3.0, 1e-4
    [seen] = WeightDelta({name: change}).inspect(model)
    assert seen.norm == pytest.approx(18**0.5)
    own = float(model.get_parameter(name).detach().norm())
    assert seen.relative_norm == pytest.approx(18**0.5 / own, rel=1e-5)
    assert seen.max_abs == 3.0
    assert seen.exact_zero == pytest.approx(1 - 3 / change.numel())
    assert seen.near_zero == pytest.approx(1 - 2 / change.numel())
    assert seen.effective_rank == pytest.approx(2.0, abs=1e-2)
    assert WeightDelta({name: change}).inspect()[0].relative_norm is None
    [nothing] = WeightDelta({name: torch.zeros_like(change)}).inspect()
    assert (nothing.effective_rank, nothing.exact_zero, nothing.near_zero) == (0.0, 1.0, 1.0)


def test_factors_and_their_product_have_the_same_rank() -> None:
    delta = made(tiny_model("llama"), 5)
    name = delta.names()[1]
    whole = WeightDelta({name: delta.dense(name)})
    assert delta.inspect()[1].effective_rank == pytest.approx(
        whole.inspect()[0].effective_rank, rel=1e-3
    )
