"""How keys of prompts are compared, in codebooks and clusters alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RADIUS_SHARE = 0.2
"""A new radius where none is set, as a share of the mean norm of the first batch's keys."""
SAME = 1e-4
"""Keys nearer than this share of their norm are those of one and the same prompt."""
SLACK = 1e-3
"""By how much a radius is larger when it is looked up: a key is not the same to the last digit in
another batch, and the edit that a radius was widened for lies exactly on its edge."""


def nearest(keys: Sequence[Tensor], key: Tensor) -> tuple[int, float]:
    """Return place and distance of the nearest of keys [k]; of equally near ones the first."""
    distances = (torch.stack(list(keys)).double() - key.double()).norm(dim=1)
    at = int(distances.argmin())
    return at, float(distances[at])


def distance_of(one: Tensor, other: Tensor) -> float:
    """Return the distance of two keys [k], summed up in float64."""
    return float((one.double() - other.double()).norm())


def same_within(key: Tensor) -> float:
    """Return the distance within which another key is of the same prompt."""
    return SAME * float(key.double().norm())


def with_slack(radius: float) -> float:
    """Return a radius as it is looked up."""
    return radius * (1 + SLACK)
