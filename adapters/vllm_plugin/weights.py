"""Weight deltas in a running vLLM: which tensors are written so that a list of deltas is in force.

What the server computes with is always the checkpoint's weights plus the deltas of one list, in
its order: to take one back is to leave it out of the list, bit for bit, whatever came after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from memedit.errors import InvalidInputError
from memedit.modeling.checkpoint import Checkpoint
from memedit.modeling.delta import WeightDelta


def whole_tensors(
    checkpoint: Checkpoint,
    deltas: Sequence[WeightDelta],
    touched: Iterable[str],
    dtype: torch.dtype,
    packed: Mapping[str, Sequence[str]],
) -> dict[str, Tensor]:
    """Return the tensors to write, by the names under which the checkpoint stores them.

    Each delta is added in float32 and rounded once to ``dtype``, as ``WeightDelta.apply`` does to
    a model loaded in it.  Beside what is changed, the tensors that vLLM keeps together with it are
    there: it writes a module's weights all or none.

    Args:
        checkpoint: the served one.
        deltas: what is to be in force, in this order.
        touched: parameters to write beside those of ``deltas``: what was changed before.
        dtype: what the server computes in.
        packed: vLLM's name of a fused module -> the names of its parts.

    Raises:
        InvalidInputError: a delta does not fit the model, or a sum does not fit ``dtype``.

    """
    names = sorted({*touched, *(name for delta in deltas for name in delta.changes)})
    tensors: dict[str, Tensor] = {}
    for name in names:
        if ".experts." in name:
            raise InvalidInputError(
                f"{name}: weights of experts are not written into a running vLLM, which keeps all "
                "of a layer in one tensor; merge the delta into a checkpoint"
            )
        stored = checkpoint.stored(name)
        value = checkpoint.read(stored[0]).to(dtype)
        for delta in deltas:
            if name in delta.changes:
                value = delta.added(name, value)
        tensors |= dict.fromkeys(stored, value)
    for name in list(tensors):
        for other in _kept_with(name, checkpoint.files, packed):
            if other not in tensors:
                tensors[other] = checkpoint.read(other).to(dtype)
    # copies: safetensors takes no two views of one storage
    return {name: tensor.clone().contiguous() for name, tensor in sorted(tensors.items())}


def _kept_with(name: str, stored: Iterable[str], packed: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the stored tensors that belong to the same module of vLLM's."""
    module = name.rpartition(".")[0]
    parent, _, leaf = module.rpartition(".")
    parts = next((list(parts) for parts in packed.values() if leaf in parts), [leaf])
    modules = {f"{parent}.{part}" if parent else part for part in parts}
    return [other for other in stored if other.rpartition(".")[0] in modules]
