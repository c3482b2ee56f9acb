"""How large a weight change is, and how it is spread."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

SMALL = 1e-3
"""Entries below this share of the largest count as near nothing."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the change of one parameter looks like."""

    name: str
    shape: tuple[int, ...]
    norm: float
    """Frobenius norm."""
    relative_norm: float | None
    """Share of the weight's own norm; ``None`` where the weight was not given."""
    max_abs: float
    near_zero: float
    """Share of entries below ``SMALL`` times the largest (exact zeros among them)."""
    exact_zero: float
    """Share of entries that are exactly zero."""
    effective_rank: float
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007); 0 for none."""

    def as_record(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {**asdict(self), "shape": list(self.shape)}


def inspect_change(
    name: str, dense: Tensor, factors: tuple[Tensor, Tensor] | None, weight: Tensor | None
) -> Inspection:
    """Measure one change.

    Args:
        name: of the parameter.
        dense: the change, float32.
        factors: its low-rank factors [rows, r] and [r, columns], which make the singular values
            cheap.
        weight: what it is added to.

    """
    size = dense.abs()
    largest = float(size.max()) if size.numel() else 0.0
    norm = float(torch.linalg.vector_norm(dense.double()))
    own = float(torch.linalg.vector_norm(weight.detach().double())) if weight is not None else 0.0
    return Inspection(
        name=name,
        shape=tuple(dense.shape),
        norm=norm,
        relative_norm=norm / own if own else None,
        max_abs=largest,
        near_zero=float((size <= SMALL * largest).float().mean()),
        exact_zero=float((size == 0).float().mean()),
        effective_rank=effective_rank(dense, factors),
    )


def effective_rank(dense: Tensor, factors: tuple[Tensor, Tensor] | None = None) -> float:
    """Return exp of the entropy of the singular values' shares; 0 of a change that is nothing."""
    if dense.ndim != 2:
        dense = dense.reshape(dense.shape[0], -1)
    if factors is not None:
        # The singular values of L R are those of the small product of their triangular parts.
        left, right = (part.double() for part in factors)
        values = torch.linalg.svdvals(
            torch.linalg.qr(left, mode="r").R @ torch.linalg.qr(right.T, mode="r").R.T
        )
    else:
        values = torch.linalg.svdvals(dense.float()).double()
    total = values.sum()
    if not float(total):
        return 0.0
    shares = values / total
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum()))
