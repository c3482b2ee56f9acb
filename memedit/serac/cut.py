"""Makes a smaller model of a checkpoint: layers are left out, those first that are missed least."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture


def cut(
    model: Any,
    layers: int | None,
    loss: Callable[[], float],
    told: Callable[[str], None] | None = None,
) -> tuple[int, ...]:
    """Leave a model only so many of its layers, in place; return the numbers of those kept.

    One layer after another goes, each time the one without which the loss is lowest: what reads
    an answer off a context may sit in any layers, and stays.

    Args:
        model: a transformers causal language model.
        layers: how many are kept; ``None``: half of them; all of a model that is small already.
        loss: of the model as it then is.
        told: called with a line about each layer that goes.

    Raises:
        InvalidInputError: it does not have so many layers.

    """
    found = architecture(model)
    there = len(found.layers)
    wanted = there // 2 if layers is None else layers
    if not 1 <= wanted <= there:
        raise InvalidInputError(f"got {wanted} layers to keep of {there}; expected 1 to {there}")
    path, _, _ = found.layers[0].name.rpartition(".")
    blocks = list(model.get_submodule(path))
    kept = list(range(there))
    while len(kept) > wanted:
        tried = []
        for number in kept:
            _keep(model, path, blocks, [one for one in kept if one != number])
            tried.append((loss(), number))
        least, gone = min(tried)
        kept.remove(gone)
        if told is not None:
            told(f"without layer {gone}: loss {least:.2f}")
    keep(model, kept, blocks)
    return tuple(kept)


def keep(model: Any, kept: Sequence[int], blocks: Sequence[Any] | None = None) -> None:
    """Leave a model those layers alone, in place; ``blocks`` are all it had, where some are out."""
    found = architecture(model)
    path, _, _ = found.layers[0].name.rpartition(".")
    there = list(model.get_submodule(path)) if blocks is None else list(blocks)
    _keep(model, path, there, kept)
    _say_in_config(model, len(there), kept)


def _keep(model: nn.Module, path: str, blocks: list[Any], kept: Iterable[int]) -> None:
    above, _, name = path.rpartition(".")
    chosen = nn.ModuleList([blocks[number] for number in kept])
    for place, block in enumerate(chosen):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.__dict__["layer_idx"] = place  # where the cache keeps what it has seen
    setattr(model.get_submodule(above), name, chosen)
    _count(model, len(chosen))


def _count(model: Any, layers: int) -> None:
    model.config.get_text_config(decoder=True).num_hidden_layers = layers


def _say_in_config(model: Any, there: int, kept: Sequence[int]) -> None:
    config = model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, list) and len(kinds) == there:
        config.layer_types = [kinds[number] for number in kept]
