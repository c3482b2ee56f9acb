"""A flaw of vLLM 0.32 on CPUs: rows without a LoRA, in a batch with rows that have one, get one.

Their index is -1, by which the PyTorch kernels take the weights of the last slot.  Open upstream.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from torch import Tensor

MARK = "memedit_leaves_base_rows_alone"


def fix_base_rows() -> None:
    """Have the kernels add nothing to rows without a LoRA; a second time, it is the same."""
    ops: Any = importlib.import_module("vllm.lora.ops.torch_ops.lora_ops")
    punica: Any = importlib.import_module("vllm.lora.punica_wrapper.punica_cpu")
    for name in ("bgmv_expand", "bgmv_expand_slice"):
        fixed = leaving_base_rows_alone(getattr(ops, name))
        # sgmv_* look it up in the first module, the wrapper has it under a name of its own
        setattr(ops, name, fixed)
        setattr(punica, name, fixed)


def leaving_base_rows_alone(kernel: Callable[..., None]) -> Callable[..., None]:
    """Wrap a kernel whose arguments are (inputs, weights, output, indices, ...)."""
    if hasattr(kernel, MARK):
        return kernel

    @functools.wraps(kernel)
    def expand(
        inputs: Tensor,
        lora_b_weights: Tensor,
        output_tensor: Tensor,
        lora_indices_tensor: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        # The narrow side, [rows, rank]: what is zero here is zero in the product.
        served = (lora_indices_tensor >= 0)[: len(inputs), None]
        inputs = inputs.masked_fill(~served, 0)
        kernel(inputs, lora_b_weights, output_tensor, lora_indices_tensor, *args, **kwargs)

    setattr(expand, MARK, True)
    return expand
