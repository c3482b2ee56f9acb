"""How a weight change is spread (survey, section 5.1, "Sparsity")."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from memedit.evaluation.analysis.record import Changed

NEAR = 1e-3
"""Entries of at most this share of the largest count as near nothing."""
GRID = 48
"""Blocks of the heatmap along its longer side."""


def changed(
    change: Tensor,
    weight: Tensor,
    *,
    method: str,
    case: str,
    parameter: str,
    with_heat: bool = False,
) -> Changed:
    """Describe a change.

    Args:
        change: ΔW as (out, in), or a vector, which counts as one row.
        weight: the unedited weight, same shape.
        method: the editing method's name.
        case: the edited case.
        parameter: the parameter's name.
        with_heat: whether to keep the heatmap.

    """
    delta = (change if change.ndim == 2 else change.reshape(1, -1)).detach().double()
    size = delta.abs()
    norm = float(torch.linalg.vector_norm(delta))
    own = float(torch.linalg.vector_norm(weight.detach().double()))
    return Changed(
        method=method,
        case=case,
        parameter=parameter,
        rows=delta.shape[0],
        columns=delta.shape[1],
        norm=norm,
        relative_norm=norm / own if own else None,
        exact_zero=float((delta == 0).double().mean()),
        near_zero=float((size <= NEAR * size.max()).double().mean()),
        hoyer=hoyer(delta),
        columns_for_90=columns_for(delta, 0.9),
        heat=heat(delta) if with_heat else (),
    )


def hoyer(delta: Tensor) -> float:
    """Return Hoyer's sparsity, (√n - l1/l2) / (√n - 1): 0 for equal sizes, 1 for one entry.

    Nothing at all counts as 1. Source: Hoyer 2004, section 3.1.
    """
    n = delta.numel()
    l2 = float(torch.linalg.vector_norm(delta.double()))
    if n < 2 or not l2:
        return 1.0
    l1 = float(delta.double().abs().sum())
    return (math.sqrt(n) - l1 / l2) / (math.sqrt(n) - 1.0)


def column_strengths(delta: Tensor) -> Tensor:
    """Return the squared norm of every column: [in], float64."""
    return delta.detach().double().square().sum(0)


def columns_for(delta: Tensor, share: float) -> int:
    """Return how few columns together hold `share` of the squared change; 0 of no change."""
    strengths = column_strengths(delta)
    total = float(strengths.sum())
    if not total:
        return 0
    held = strengths.sort(descending=True).values.cumsum(0) / total
    # A rounding error of the last sum must not ask for a column more.
    return int((held < share - 1e-12).sum()) + 1


def heat(delta: Tensor, grid: int = GRID) -> tuple[tuple[float, ...], ...]:
    """Return the largest |entry| of every block of a coarse grid.

    The mean would hide a single changed column; the maximum keeps it.
    """
    size = delta.detach().double().abs()
    cells = (min(grid, size.shape[0]), min(grid, size.shape[1]))
    coarse = torch.nn.functional.adaptive_max_pool2d(size[None, None], cells)[0, 0]
    return tuple(tuple(float(value) for value in row) for row in coarse)
