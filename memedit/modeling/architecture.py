"""Where things are in a causal language model: found by looking, not by a file per model.

The blocks are the one ``ModuleList`` as long as the configuration says.  What is inside a block
goes by the few names that the families of transformers use; the value matrix is checked by its
shape, so that a name alone never decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from memedit.errors import InvalidInputError, SettingsError

MLP = ("mlp", "feed_forward", "ffn")
ATTENTION = ("self_attn", "attn", "attention", "self_attention")
DOWN = ("down_proj", "c_proj", "fc_out", "fc2", "dense_4h_to_h", "w2")
"""The second (or third) matrix of an MLP: from the neurons back to the residual stream."""
FINAL_NORM = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "final_norm")
EXPERTS = ("experts", "block_sparse_moe")


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight that maps rows of activations, as it lies in its model."""

    name: str
    """Of the parameter, e.g. ``model.layers.3.mlp.down_proj.weight``."""
    module: nn.Module
    transposed: bool
    """Stored as (in, out), as GPT-2's ``Conv1D`` does; else (out, in)."""

    @property
    def weight(self) -> nn.Parameter:
        """The parameter itself."""
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def as_out_in(self) -> Tensor:
        """Return the weight as (out, in): a view, changed with it."""
        return self.weight.T if self.transposed else self.weight


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder block."""

    index: int
    name: str
    """Of the block's module, e.g. ``model.layers.3``."""
    block: nn.Module
    """Its first output is the residual stream after the block."""
    mlp: nn.Module
    """Its output is what the MLP adds (OPT has no such module: there it is the value matrix)."""
    attention: nn.Module
    """Its first output is what attention adds."""
    down: Matrix
    """The value matrix; its input is the key."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parts of a causal language model that editing and tracing touch."""

    embedding: nn.Module
    """Token embeddings; position embeddings, where there are any, are added after it."""
    layers: tuple[Layer, ...]
    final_norm: nn.Module | None
    """``None``: the model has none (OPT-350M normalises inside its blocks)."""
    unembedding: nn.Module
    """Maps the final hidden state to the vocabulary; its weight is (vocabulary, hidden)."""
    hidden_size: int

    def layer(self, index: int) -> Layer:
        """Return a layer by its number from 0.

        Raises:
            SettingsError: the model has no such layer.

        """
        if not 0 <= index < len(self.layers):
            raise SettingsError(
                f"layer {index} is not there: the model has {len(self.layers)} layers, "
                f"0 to {len(self.layers) - 1}"
            )
        return self.layers[index]


def architecture(model: nn.Module) -> Architecture:
    """Find the parts of a transformers causal language model; nothing is changed.

    Raises:
        InvalidInputError: its layout is not known; the message says what was looked for.

    """
    config: Any = getattr(model, "config", None)
    if config is None or not hasattr(model, "get_input_embeddings"):
        raise InvalidInputError(
            f"{type(model).__name__} is no transformers model; load one with "
            "AutoModelForCausalLM.from_pretrained"
        )
    text: Any = config.get_text_config(decoder=True)
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    unembedding: Any = model.get_output_embeddings()  # type: ignore[operator]
    if embedding is None or unembedding is None:
        raise _unknown(model, "no embedding, or no language-modelling head")
    hidden = int(text.hidden_size)
    above, path, blocks = _blocks(model, int(text.num_hidden_layers))
    return Architecture(
        embedding=embedding,
        layers=tuple(
            _layer(model, number, f"{path}.{number}", block, hidden)
            for number, block in enumerate(blocks)
        ),
        final_norm=_child(above, FINAL_NORM),
        unembedding=unembedding,
        hidden_size=hidden,
    )


def linear_matrix(model: nn.Module, name: str) -> Matrix:
    """Return the weight called ``name`` as the matrix of a ``Linear`` or a ``Conv1D``.

    Raises:
        InvalidInputError: the model has no such parameter, or it is no such matrix.

    """
    path, _, kind = name.rpartition(".")
    try:
        module = model.get_submodule(path)
        weight = model.get_parameter(name)
    except AttributeError:
        raise InvalidInputError(
            f"the model has no parameter {name!r}; the delta was computed for another architecture"
        ) from None
    transposed = _is_transposed(module)
    if kind != "weight" or weight.ndim != 2 or not (transposed or isinstance(module, nn.Linear)):
        raise InvalidInputError(
            f"{name} is of shape {tuple(weight.shape)} in a {type(module).__name__}; expected the "
            "weight of a Linear or a Conv1D"
        )
    return Matrix(name, module, transposed)


def _blocks(model: nn.Module, count: int) -> tuple[nn.Module, str, nn.ModuleList]:
    """Find the decoder's blocks: (module that holds the list, the list's name, the list)."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and _child(module[0], ATTENTION) is not None
    ]
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise _unknown(
            model,
            f"expected one list of {count} blocks that hold one of {', '.join(ATTENTION)}; "
            f"found {names}",
        )
    [(name, blocks)] = found
    return model.get_submodule(name.rpartition(".")[0]), name, blocks


def _layer(model: nn.Module, number: int, path: str, block: nn.Module, hidden: int) -> Layer:
    attention = _child(block, ATTENTION)
    mlp = _child(block, MLP)
    if attention is None:
        raise _unknown(model, f"{path} has none of {', '.join(ATTENTION)}")
    inside = mlp if mlp is not None else block
    if any(part in EXPERTS for name, _ in block.named_modules() for part in name.split(".")):
        raise _unknown(model, f"{path} is a mixture of experts, which has no one value matrix")
    down_name = next((name for name in DOWN if hasattr(inside, name)), None)
    if down_name is None:
        raise _unknown(model, f"the MLP of {path} has none of {', '.join(DOWN)}")
    down = inside.get_submodule(down_name)
    where = next(name for name, module in block.named_modules() if module is down)
    matrix = Matrix(f"{path}.{where}.weight", down, _is_transposed(down))
    if matrix.weight.ndim != 2 or matrix.as_out_in().shape[0] != hidden:
        raise _unknown(
            model,
            f"{matrix.name} has shape {tuple(matrix.weight.shape)}; expected one that "
            f"leads back to the {hidden} numbers of the residual stream",
        )
    return Layer(number, path, block, mlp if mlp is not None else down, attention, matrix)


def _is_transposed(module: nn.Module) -> bool:
    """Tell a ``Conv1D`` (in, out) from a ``Linear`` (out, in), without importing transformers."""
    return any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)


def _child(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    for name in names:
        child = getattr(module, name, None)
        if isinstance(child, nn.Module):
            return child
    return None


def _unknown(model: nn.Module, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"the layout of {type(model).__name__} is not known: {reason}. Known are Llama, Qwen, "
        "Mistral, Gemma, Phi, GPT-2, GPT-J, GPT-NeoX, OPT and what is built like them; "
        "for others the names go into memedit/modeling/architecture.py"
    )
