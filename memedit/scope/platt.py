"""Fitting a calibration to similarities: Platt coefficients, a threshold, their spread.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError

Floats = npt.NDArray[np.floating[Any]]


def fit_platt(
    positives: Floats,
    negatives: Floats,
    *,
    negative_weights: Floats | None = None,
    ridge: float = 1e-6,
    steps: int = 100,
) -> tuple[float, float]:
    """Fit ``sigmoid(slope * similarity + intercept)`` by weighted maximum likelihood (Newton).

    Both classes weigh the same in total, so 0.5 stands where a prompt is as likely to be
    concerned as not if half of all are.

    Source: Platt 1999; Lin, Lin and Weng 2007.

    Raises:
        InvalidInputError: a class is empty, or similarity does not tell the classes apart.

    """
    if not len(positives) or not len(negatives):
        raise InvalidInputError(
            f"got {len(positives)} positives and {len(negatives)} negatives; expected some of both"
        )
    below = _share(negatives, negative_weights)
    above = np.full(len(positives), 1.0 / len(positives))
    scores = np.concatenate([positives, negatives]).astype(np.float64)
    weights = np.concatenate([above, below])
    # Lin et al.'s soft targets: with them separable classes have finite coefficients.
    targets = np.concatenate(
        [
            np.full(len(positives), (len(positives) + 1) / (len(positives) + 2)),
            np.full(len(negatives), 1 / (len(negatives) + 2)),
        ]
    )
    design = np.stack([scores, np.ones_like(scores)], axis=1)  # [n, 2]
    beta = np.zeros(2)
    for _ in range(steps):
        p = _sigmoid(design @ beta)
        gradient = design.T @ (weights * (p - targets)) + ridge * beta
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        loss = _loss(design, beta, weights, targets, ridge)
        while size > 1e-6 and _loss(design, beta - size * step, weights, targets, ridge) > loss:
            size /= 2
        beta = beta - size * step
        if float(np.abs(size * step).max()) < 1e-9:
            break
    if beta[0] <= 0:
        raise InvalidInputError(
            "positives are no more similar than negatives; check which is which"
        )
    return float(beta[0]), float(beta[1])


def threshold_for(negatives: Floats, rate: float, weights: Floats | None = None) -> float:
    """Return the lowest similarity at which at most ``rate`` of the negatives fire (>=).

    Raises:
        InvalidInputError: no negatives, or a rate outside [0, 1).

    """
    if not len(negatives) or not 0 <= rate < 1:
        raise InvalidInputError(
            f"got {len(negatives)} negatives and rate {rate}; expected some and a rate in [0, 1)"
        )
    share = _share(negatives, weights)
    order = np.argsort(-negatives, kind="stable")
    scores, fired = negatives[order], np.cumsum(share[order])
    first = int(np.searchsorted(fired, rate + 1e-12, side="right"))
    if first == len(scores):
        return float(scores[-1])
    # Everything from here down fires too often: stand just above it, in its own precision.
    return float(np.nextafter(scores[first], negatives.dtype.type(np.inf)))


def rate_above(scores: Floats, threshold: float, weights: Floats | None = None) -> float:
    """Return the (weighted) share of scores that reach the threshold; NaN when there are none."""
    if not len(scores):
        return float("nan")
    return float(_share(scores, weights)[scores >= threshold].sum())


def bootstrap(
    measure: Callable[[npt.NDArray[np.intp]], float],
    groups: npt.NDArray[Any],
    *,
    rounds: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of a measure under resampling of whole groups.

    Args:
        measure: takes the positions drawn (with repetition) and returns a number.
        groups: ``[n]``, equal where samples are no independent evidence (the same subject).
        rounds: resamplings.
        seed: of the resampling.

    """
    names, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse, minlength=len(names)))[:-1])
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = generator.integers(0, len(names), len(names))
        values.append(measure(np.concatenate([members[i] for i in drawn])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _share(scores: Floats, weights: Floats | None) -> npt.NDArray[np.float64]:
    given = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    share: npt.NDArray[np.float64] = given / given.sum()
    return share


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60)))


def _loss(design: Floats, beta: Floats, weights: Floats, targets: Floats, ridge: float) -> float:
    logits = design @ beta
    each = np.logaddexp(0, logits) - targets * logits
    return float(weights @ each + ridge / 2 * beta @ beta)
