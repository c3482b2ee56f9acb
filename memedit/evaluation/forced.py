"""Sums over teacher-forced targets; what one target gave is a `Forced`."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.errors import InvalidInputError
from memedit.evaluation.protocols import Forced


def token_accuracy(scores: Sequence[Forced]) -> float:
    """Return the mean over targets of the share of their tokens that are the argmax.

    Every target weighs the same, however many tokens it has.

    Source: survey, equation 10.
    """
    _not_empty(scores)
    return sum(score.accuracy for score in scores) / len(scores)


def all_right(score: Forced) -> bool:
    """Tell whether every target token is the argmax: fed its own words, the model says them all."""
    return all(score.correct)


def all_right_share(scores: Sequence[Forced]) -> float:
    """Return the share of targets of which every token is the argmax."""
    _not_empty(scores)
    return sum(map(all_right, scores)) / len(scores)


def log_probability(score: Forced) -> float:
    """Return the natural logarithm of the whole target's probability."""
    return sum(score.log_probability)


def kept_share(before: Forced, after: Forced) -> float:
    """Return the share of target positions whose argmax the edit left as it was (locality).

    Raises:
        InvalidInputError: the two are not scores of the same target with `predicted` filled in.

    """
    if not before.predicted or len(before.predicted) != len(after.predicted):
        raise InvalidInputError(
            "teacher-forced locality compares the argmax of the same target positions; got "
            f"{len(before.predicted)} before the edit and {len(after.predicted)} after it"
        )
    pairs = zip(before.predicted, after.predicted, strict=True)
    return sum(one == other for one, other in pairs) / len(before.predicted)


def _not_empty(scores: Sequence[Forced]) -> None:
    if not scores:
        raise InvalidInputError("the mean over no targets is not defined; got an empty list")
