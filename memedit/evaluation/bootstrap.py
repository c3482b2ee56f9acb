"""Confidence intervals by bootstrap over cases.

The probes of one case stand and fall together (they share its edit), so what is drawn again with
replacement are cases, never single probes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memedit.errors import InvalidInputError

DRAWS = 1_000
_AT_ONCE = 2_000_000
"""Drawn numbers held in memory at a time."""


def interval_of_mean(
    values: Sequence[float] | NDArray[np.float64],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of the mean.

    Args:
        values: one number per case, [n_cases].
        generator: draws the cases; the same state gives the same interval.
        draws: how many times the cases are drawn again.
        level: the share of the drawn means between the two bounds.

    Raises:
        InvalidInputError: there are no values, or `level` is no share.

    """
    return interval_of_means([values], generator, draws=draws, level=level)


def interval_of_means(
    groups: Sequence[Sequence[float] | NDArray[np.float64]],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of the plain mean of several groups' means.

    Cases are drawn again within their group: how many each group has is no chance.

    Args:
        groups: of each group one number per case, [n_cases].
        generator: draws the cases; the same state gives the same interval.
        draws: how many times the cases are drawn again.
        level: the share of the drawn means between the two bounds.

    Raises:
        InvalidInputError: there are no groups, or no values in one, or `level` is no share.

    """
    if not 0 < level < 1:
        raise InvalidInputError(f"level is a share between 0 and 1, for example 0.95; got {level}")
    if not groups:
        raise InvalidInputError("a confidence interval needs at least one group of cases; got none")
    means = np.mean([_drawn(values, generator, draws) for values in groups], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _drawn(
    values: Sequence[float] | NDArray[np.float64], generator: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """Return the means of cases that are drawn again, [draws]."""
    cases = np.asarray(values, dtype=np.float64)
    if cases.ndim != 1 or not cases.size:
        raise InvalidInputError(
            f"a confidence interval needs at least one number per case; got shape {cases.shape}"
        )
    rows = max(1, _AT_ONCE // cases.size)
    return np.concatenate(
        [
            # [draws of this round, n_cases] -> [draws of this round]
            cases[generator.integers(0, cases.size, (min(rows, draws - done), cases.size))].mean(1)
            for done in range(0, draws, rows)
        ]
    )
