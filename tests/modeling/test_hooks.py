"""Hooks catch and change what they should, and take themselves off."""

from __future__ import annotations

import pytest
import torch

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import Places, add, catch, replace
from tests.modeling.families import tiny_model

IDS = torch.tensor([[0, 5, 6, 7], [0, 9, 8, 4]])


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_what_is_put_at_a_place_is_there_and_nowhere_else(family: str) -> None:
    model = tiny_model(family)
    layer = architecture(model).layers[1]
    places = Places.one_per_row([2, 1])
    values = torch.full((2, 32), 0.5)
    with torch.no_grad(), catch(layer.mlp, "output") as before:
        clean = model(IDS).logits
    with torch.no_grad():
        with (
            replace(layer.mlp, "output", places, values),
            catch(layer.mlp, "output") as whole,
            catch(layer.mlp, "output", places) as chosen,
        ):
            changed = model(IDS).logits
        with replace(layer.mlp, "output", places, places.take(before.last)):
            same = model(IDS).logits
    torch.testing.assert_close(chosen.last, values)
    kept = torch.ones(2, 4, dtype=torch.bool)
    kept[0, 2] = kept[1, 1] = False
    assert torch.equal(whole.last.reshape(2, 4, 32)[kept], before.last.reshape(2, 4, 32)[kept])
    assert torch.equal(changed[0, :2], clean[0, :2]) and not torch.equal(changed[0, 2], clean[0, 2])
    assert torch.equal(same, clean)


def test_inputs_positional_and_by_name_are_caught_and_changed() -> None:
    model = tiny_model("llama")
    layer = architecture(model).layers[0]
    places = Places.of([(0, 1), (0, 3), (1, 2)], batch=2)
    shift = torch.ones(3, 32)
    for module in (layer.mlp, layer.attention, layer.down.module, layer.block):
        with torch.no_grad(), catch(module, "input", places) as before:
            model(IDS)
        given = torch.ones(3, before.last.shape[-1])
        with (
            torch.no_grad(),
            add(module, "input", places, given),
            catch(module, "input", places) as after,
        ):
            model(IDS)
        torch.testing.assert_close(after.last, before.last + given)
    assert shift.shape == (3, 32)


def test_gradients_flow_to_what_is_added() -> None:
    model = tiny_model("gpt2").requires_grad_(False)
    value = torch.zeros(32, requires_grad=True)
    places = Places.one_per_row([1, 1])
    with add(architecture(model).layers[0].mlp, "output", places, value):
        model(IDS).logits[:, -1].sum().backward()
    assert value.grad is not None and float(value.grad.abs().sum()) > 0


def test_hooks_come_off_also_when_something_fails() -> None:
    model = tiny_model("llama")
    module = architecture(model).layers[0].mlp
    with pytest.raises(RuntimeError, match="inside"), catch(module, "output"):
        raise RuntimeError("inside")
    assert not module._forward_hooks and not module._forward_pre_hooks


def test_misuse_is_said() -> None:
    module = architecture(tiny_model("llama")).layers[0].mlp
    with catch(module, "output") as caught, pytest.raises(InvalidInputError, match="did not run"):
        _ = caught.last
    with (
        pytest.raises(InvalidInputError, match="'input' or 'output'"),
        catch(module, "middle"),  # type: ignore[arg-type]
    ):
        pass
