"""Module names, found on tiny models of every family."""

from __future__ import annotations

import pytest
import torch
import transformers

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import catch
from tests.modeling.families import FAMILIES, LAYERS, tiny_model

TRANSPOSED = {"gpt2"}
IDS = torch.tensor([[0, 5, 6, 7]])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_taken_apart(family: str) -> None:
    model = tiny_model(family)
    parts = architecture(model)
    names = dict(model.named_parameters())
    assert [layer.index for layer in parts.layers] == list(range(LAYERS))
    for layer in parts.layers:
        assert names[layer.down.name] is layer.down.weight
        assert model.get_submodule(layer.name) is layer.block
        assert layer.down.transposed == (family in TRANSPOSED)
        assert layer.down.as_out_in().shape[0] == parts.hidden_size == 32
        assert layer.down.as_out_in().data_ptr() == layer.down.weight.data_ptr()
    assert (parts.final_norm is None) == (family == "opt_350m")
    assert parts.unembedding is model.get_output_embeddings()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_are_what_their_names_say(family: str) -> None:
    """The key times the value matrix is what the MLP adds (to its norm, in Gemma)."""
    model = tiny_model(family)
    layer = architecture(model).layers[1]
    with (
        torch.no_grad(),
        catch(layer.down.module, "input") as keys,
        catch(layer.mlp, "output") as values,
        catch(layer.attention, "output") as attention,
        catch(layer.block, "output") as states,
    ):
        model(IDS)
    bias = getattr(layer.down.module, "bias", None)
    expected = keys.last @ layer.down.as_out_in().T + (0 if bias is None else bias)
    torch.testing.assert_close(values.last, expected, rtol=1e-4, atol=1e-5)
    assert attention.last.shape == states.last.shape == (1, 4, 32)


def test_an_unknown_layout_is_an_error_that_says_what_is_missing() -> None:
    with pytest.raises(InvalidInputError, match="no transformers model"):
        architecture(torch.nn.Linear(2, 2))
    model = tiny_model("llama")
    for block in model.model.layers:
        block.other = block.mlp
        del block.mlp
    with pytest.raises(InvalidInputError, match=r"layers\.0 has none of down_proj"):
        architecture(model)


def test_a_mixture_of_experts_is_refused() -> None:
    config = transformers.MixtralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    with torch.random.fork_rng():
        model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(InvalidInputError, match="mixture of experts"):
        architecture(model)


def test_a_layer_that_is_not_there() -> None:
    parts = architecture(tiny_model("gpt2"))
    assert parts.layer(2) is parts.layers[2]
    with pytest.raises(InvalidInputError, match="3 layers, 0 to 2"):
        parts.layer(3)
