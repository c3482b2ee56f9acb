"""Between a model's value matrix and the linear algebra of the closed forms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memedit.editing.closed_forms import Factors
from memedit.modeling.architecture import Matrix
from memedit.modeling.delta import LowRank


def stacked(factors: Sequence[Factors]) -> Factors:
    """Return the sum of changes as one: ranks add up."""
    return torch.cat([left for left, _ in factors], 1), torch.cat([right for _, right in factors])


def factors_of(matrix: Matrix, factors: Factors) -> LowRank:
    """Return ΔW = left @ right, (out, in), in the layout in which the parameter is stored."""
    left, right = factors
    if matrix.transposed:
        left, right = right.T, left.T
    return LowRank(left.float().contiguous(), right.float().contiguous())


def made_of(matrix: Matrix, keys: Tensor) -> Tensor:
    """Return what the value matrix makes of keys, bias included: float64 [B, in] -> [B, out]."""
    values = keys @ matrix.as_out_in().detach().double().cpu().T
    bias = getattr(matrix.module, "bias", None)
    return values if bias is None else values + bias.detach().double().cpu()
