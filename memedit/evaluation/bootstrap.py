"""Confidence intervals over cases: Wilson's for proportions, else by bootstrap.

The probes of one case stand and fall together (they share its edit), so what is counted, or drawn
again with replacement, are cases, never single probes.

The bootstrap knows only what was seen: of cases that are all alike it makes an interval without
width, however few they are. Wilson's has a width there too (3 of 3 right: 0.44 to 1). So it is
taken where every case scores 0 or 1, and where all score alike in between: of numbers between 0 and
1 with a given mean none vary more than 0 and 1 themselves, so that it is on the safe side. What is
alike and no such score, like what is of one case, has no interval: None.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from memedit.errors import InvalidInputError

Interval = tuple[float, float]
DRAWS = 1_000
_AT_ONCE = 2_000_000
"""Drawn numbers held in memory at a time."""


def interval(
    values: Sequence[float] | NDArray[np.float64],
    generator: np.random.Generator,
    *,
    share: bool,
    level: float = 0.95,
) -> Interval | None:
    """Return the interval of a mean over cases; None where there is none to be told.

    Args:
        values: one number per case, [n_cases].
        generator: draws the cases, where they are drawn.
        share: whether the numbers lie between 0 and 1.
        level: how sure the interval is to be.

    Raises:
        InvalidInputError: there are no values, or `level` is no share.

    """
    cases = _cases(values)
    if cases.size == 1:
        return None
    alike = np.allclose(cases, cases[0], rtol=1e-9, atol=1e-12)
    if share and (alike or np.isin(cases, (0.0, 1.0)).all()):
        return wilson(float(cases.sum()), cases.size, level=level)
    if alike:
        return None
    return interval_of_mean(cases, generator, level=level)


def interval_of_average(
    groups: Sequence[Sequence[float] | NDArray[np.float64]],
    generator: np.random.Generator,
    *,
    share: bool,
    level: float = 0.95,
) -> Interval | None:
    """Return the interval of the plain mean of several groups' means; None where one has none.

    The groups' intervals are put together: how far they reach from their means, squared, is added
    up, downwards and upwards apart.

    Args:
        groups: of each group one number per case, [n_cases].
        generator: draws the cases, where they are drawn.
        share: whether the numbers lie between 0 and 1.
        level: how sure the interval is to be.

    Raises:
        InvalidInputError: there are no groups, or no values in one, or `level` is no share.

    Source: Zou, Huang and Zhang 2009 (MOVER), with every weight 1 / groups.

    """
    if not groups:
        raise InvalidInputError("a confidence interval needs at least one group of cases; got none")
    means = [float(_cases(values).mean()) for values in groups]
    found = [interval(values, generator, share=share, level=level) for values in groups]
    known = [bounds for bounds in found if bounds is not None]
    if len(known) < len(found):
        return None
    n = len(groups)
    down = sqrt(sum((mean - low) ** 2 for mean, (low, _) in zip(means, known, strict=True)))
    up = sqrt(sum((high - mean) ** 2 for mean, (_, high) in zip(means, known, strict=True)))
    return (sum(means) - down) / n, (sum(means) + up) / n


def wilson(right: float, n: int, *, level: float = 0.95) -> Interval:
    """Return the score interval of a proportion: `right` of `n`, perhaps no whole number.

    Raises:
        InvalidInputError: it is no proportion, or `level` is no share.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for few cases.

    """
    if not 0 <= right <= n or not n:
        raise InvalidInputError(f"a proportion is of at least one case; got {right} of {n}")
    z = NormalDist().inv_cdf((1 + _checked(level)) / 2)
    middle = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(right * (n - right) / n + z * z / 4)
    return 0.0 if right == 0 else middle - half, 1.0 if right == n else middle + half


def interval_of_mean(
    values: Sequence[float] | NDArray[np.float64],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Interval:
    """Return the percentile bootstrap interval of the mean.

    Of few cases (below ten or so) it is too narrow.

    Args:
        values: one number per case, [n_cases].
        generator: draws the cases; the same state gives the same interval.
        draws: how many times the cases are drawn again.
        level: the share of the drawn means between the two bounds.

    Raises:
        InvalidInputError: there are no values, or `level` is no share.

    """
    _checked(level)
    means = _drawn(_cases(values), generator, draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise InvalidInputError(f"level is a share between 0 and 1, for example 0.95; got {level}")
    return level


def _cases(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    cases = np.asarray(values, dtype=np.float64)
    if cases.ndim != 1 or not cases.size:
        raise InvalidInputError(
            f"a confidence interval needs at least one number per case; got shape {cases.shape}"
        )
    return cases


def _drawn(
    cases: NDArray[np.float64], generator: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """Return the means of cases that are drawn again, [draws]."""
    rows = max(1, _AT_ONCE // cases.size)
    return np.concatenate(
        [
            # [draws of this round, n_cases] -> [draws of this round]
            cases[generator.integers(0, cases.size, (min(rows, draws - done), cases.size))].mean(1)
            for done in range(0, draws, rows)
        ]
    )
