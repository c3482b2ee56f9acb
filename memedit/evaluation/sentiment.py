"""ConvSent: whether the sentiment towards a topic has moved, and what moved with it.

Source: Mitchell et al. 2022, "Memory-Based Model Editing at Scale" (SERAC); survey, equations 12
and 13. The factors are those of the code that its authors published
(github.com/eric-mitchell/serac, metrics.py and losses.py), which the survey's own code takes over:
mean log-probabilities, and KL divergence, are taken per token, over all tokens of all replies
together, so that a long reply weighs more than a short one.

Everything here is teacher-forced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.errors import InvalidInputError
from memedit.evaluation.protocols import Forced


@dataclass(frozen=True, slots=True)
class Sentiment:
    """The parts of the edit success, each between 0 and 1."""

    z_sentiment: float
    """Goes to 1 where the wanted replies are likelier than the unwanted ones."""
    z_topic: float
    """1 where the wanted replies are at least as likely as before the edit: still on the topic."""

    @property
    def edit_success(self) -> float:
        """Both at once (survey, equation 12)."""
        return self.z_sentiment * self.z_topic


def mean_log_probability(replies: Sequence[Forced]) -> float:
    """Return the mean over all tokens of all replies, natural logarithm."""
    tokens = [value for reply in replies for value in reply.log_probability]
    if not tokens:
        raise InvalidInputError("sentiment needs at least one reply of each kind; got none")
    return sum(tokens) / len(tokens)


def z_sentiment(wanted: Sequence[Forced], unwanted: Sequence[Forced]) -> float:
    """Return sigmoid(mean log p(wanted) - mean log p(unwanted)), both under the edited model."""
    return _sigmoid(mean_log_probability(wanted) - mean_log_probability(unwanted))


def z_topic(before: Sequence[Forced], after: Sequence[Forced]) -> float:
    """Return min(1, exp(mean log p(wanted) after the edit - before it))."""
    return math.exp(min(0.0, mean_log_probability(after) - mean_log_probability(before)))


def sentiment(
    wanted_before: Sequence[Forced],
    wanted_after: Sequence[Forced],
    unwanted_after: Sequence[Forced],
) -> Sentiment:
    """Score an edit of the sentiment towards one topic by the data set's example replies."""
    return Sentiment(
        z_sentiment(wanted_after, unwanted_after), z_topic(wanted_before, wanted_after)
    )


def divergence(before: NDArray[np.floating[Any]], after: NDArray[np.floating[Any]]) -> float:
    """Return KL(before || after) of next-token distributions, in nats, mean over tokens; >= 0.

    Asked on prompts and replies about another topic, it is what the edit moved besides (lower is
    better): the drawdown of survey, equation 13.

    Args:
        before: log-probabilities of the unedited model, natural logarithm, [n_tokens, vocab].
        after: those of the edited model at the same positions.

    """
    if before.shape != after.shape or before.ndim != 2 or not before.size:
        raise InvalidInputError(
            "KL compares log-probabilities of the same positions and vocabulary, "
            f"[n_tokens, vocab]; got {before.shape} and {after.shape}"
        )
    one, other = before.astype(np.float64), after.astype(np.float64)
    # Where the unedited model gives no probability at all, the term is 0 by its limit.
    possible = ~np.isneginf(one)
    ratio = np.subtract(one, other, out=np.zeros_like(one), where=possible)
    return max(0.0, float((np.exp(one) * ratio).sum(axis=1).mean()))


def _sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
