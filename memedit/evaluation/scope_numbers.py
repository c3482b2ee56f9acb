"""Numbers of a classifier's probabilities: a threshold, the area under the ROC, the calibration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError

Floats = npt.NDArray[np.float64]


def chosen_threshold(unrelated: Floats, rate: float) -> float:
    """Return the lowest threshold at which at most ``rate`` of the unrelated scores fire (>=).

    Raises:
        InvalidInputError: the rate is not in [0, 1).

    """
    if not 0 <= rate < 1:
        raise InvalidInputError(f"got a rate of false alarms of {rate}; expected one in [0, 1)")
    ordered = np.sort(unrelated)[::-1]
    allowed = int(np.floor(rate * len(ordered) + 1e-9))
    if allowed >= len(ordered):
        return float(ordered[-1])
    return float(np.nextafter(ordered[allowed], np.inf))


def auroc(positives: Floats, negatives: Floats) -> float | None:
    """Return the probability that a positive scores above a negative; ties count half."""
    if not len(positives) or not len(negatives):
        return None
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    up_to = np.searchsorted(ordered, positives, side="right")
    return float((below + up_to).mean() / 2 / len(negatives))


def calibration_error(probabilities: Floats, truth: npt.NDArray[np.bool_]) -> float:
    """Return the mean gap of probability and frequency over ten equal bins, weighted by size.

    Source: Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".

    Args:
        probabilities: in [0, 1], at least one.
        truth: of each, whether what was probable was so.

    """
    bins = np.minimum((probabilities * 10).astype(int), 9)
    sums = np.bincount(bins, probabilities - truth, minlength=10)
    return float(np.abs(sums).sum() / len(probabilities))
