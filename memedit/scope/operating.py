"""Thresholds for the false alarms that somebody accepts, and what still fires at them.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError
from memedit.scope.platt import bootstrap, threshold_for

Floats = npt.NDArray[np.float64]

_Z = 1.959964
"""Standard deviations of a normal distribution that hold 95% of it."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How probable it is, prompt by prompt, that any edit concerns it."""

    values: Floats
    """``[n]``, in [0, 1]."""
    groups: npt.NDArray[Any]
    """``[n]``, equal where prompts are no independent evidence: the same text, the same edit."""

    @classmethod
    def of(cls, values: Sequence[float], groups: Sequence[str]) -> Scores:
        """Make them of sequences of equal length."""
        return cls(np.array(values, dtype=np.float64), np.array(groups, dtype=object).astype(str))

    @property
    def independent(self) -> int:
        """The number of groups."""
        return len(np.unique(self.groups))


@dataclass(frozen=True, slots=True)
class Share:
    """A share of prompts with its 95% interval."""

    share: float
    low: float
    high: float
    n: int
    """Prompts counted; the interval counts every group of them once."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, and what it does with the prompts at hand."""

    accepted: float | None
    """The rate of false alarms it was chosen for; ``None``: it was given."""
    threshold: float | None
    """``None`` where no threshold up to 1 keeps to the rate."""
    spread: tuple[float, float] | None
    """95% of the thresholds that redrawn prompts would choose."""
    false_alarms: Share
    fires: Mapping[str, Share]
    """By kind of prompt that should fire: the share that does."""
    needed: int
    """Different ordinary prompts below which the accepted rate is less than one of them."""
    binding: bool
    """Whether the prompts forced the threshold: any of them with a noteworthy probability did."""

    @property
    def resolved(self) -> bool:
        """Whether there are enough prompts to tell the accepted rate from none."""
        return self.needed == 0


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share of ``n`` independent cases.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> low, high = wilson(0.0, 20)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.161)
    """
    squared = _Z * _Z
    middle = (share + squared / (2 * n)) / (1 + squared / n)
    half = _Z / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_above(scores: Scores, threshold: float | None) -> Share:
    """Return the share of prompts that fire at a threshold; at ``None`` none does."""
    above = 0.0 if threshold is None else float((scores.values >= threshold).mean())
    low, high = wilson(above, scores.independent)
    return Share(above, low, high, len(scores.values))


def point_for(
    negatives: Scores, positives: Mapping[str, Scores], accepted: float
) -> OperatingPoint:
    """Choose the lowest threshold at which at most ``accepted`` of the negatives fire.

    It is written with as few digits as decide all these prompts alike.

    Raises:
        InvalidInputError: there are no negatives, or the rate is not in [0, 1).

    """
    exact = threshold_for(negatives.values, accepted)
    every = np.concatenate([negatives.values, *(one.values for one in positives.values())])
    threshold = shortest(exact, every)

    def again(drawn: npt.NDArray[np.intp]) -> float:
        return threshold_for(negatives.values[drawn], accepted)

    spread = bootstrap(again, negatives.groups)
    n = negatives.independent
    needed = math.ceil(1 / accepted - 1e-9) if accepted > 0 else 0
    return OperatingPoint(
        accepted,
        threshold,
        spread,
        share_above(negatives, threshold),
        {kind: share_above(scores, threshold) for kind, scores in positives.items()},
        needed if n < needed else 0,
        exact > 0.01,
    )


def point_at(
    negatives: Scores, positives: Mapping[str, Scores], threshold: float
) -> OperatingPoint:
    """Return what a given threshold does."""
    return OperatingPoint(
        None,
        threshold,
        None,
        share_above(negatives, threshold),
        {kind: share_above(scores, threshold) for kind, scores in positives.items()},
        0,
        True,
    )


def shortest(threshold: float, scores: Floats) -> float | None:
    """Return the shortest decimal, no lower, that decides all scores as the threshold does.

    >>> shortest(0.70000001, np.array([0.7, 0.9]))
    0.71
    """
    if threshold > 1:
        return None
    for digits in range(2, 17):
        scale = 10.0**digits
        up = math.ceil(threshold * scale) / scale
        if threshold <= up <= 1 and not ((scores >= threshold) & (scores < up)).any():
            return up
    return threshold


def curve(negatives: Scores, positives: Scores) -> list[tuple[float, float]]:
    """Return (share of negatives, share of positives) that fire, at every threshold that differs.

    Raises:
        InvalidInputError: there are none of one kind.

    """
    if not len(negatives.values) or not len(positives.values):
        raise InvalidInputError(
            "a curve needs prompts that should fire and prompts that should not"
        )
    below = np.sort(negatives.values)
    own = np.sort(positives.values)
    steps = np.unique(np.concatenate([below, own]))
    at = [(len(below) - np.searchsorted(below, steps)) / len(below)]
    on = [(len(own) - np.searchsorted(own, steps)) / len(own)]
    pairs = zip(at[0].tolist(), on[0].tolist(), strict=True)
    return [(0.0, 0.0), *sorted(set(pairs))]
