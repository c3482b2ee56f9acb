"""Half precision where the machine computes in it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def half_where_fast(device: str = "cpu") -> AbstractContextManager[Any]:
    """Compute in bfloat16 on a device that has arithmetic for it, else as the tensors are.

    A CPU without it would imitate it: matrix products took sixty times as long as in float32 on
    one that knows AVX2 alone.

    Args:
        device: ``cpu`` or ``cuda``; on others nothing changes.

    """
    fast = device == "cuda" or (device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast(device, torch.bfloat16) if fast else nullcontext()
