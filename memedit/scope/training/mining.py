"""Which pairs a half-trained classifier still has something to learn of.

After a first round nearly all pairs of other subjects' relations are told right, and a step over
them teaches nothing; what is worth another round are the pairs that it doubts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from memedit.scope.training.pairs import PRESUMED, Pair

Floats = npt.NDArray[np.float64]
Judge = Callable[[Sequence[Pair]], Floats]
"""The probability of each pair's own label, float64 ``[n]``."""

SURE = 0.93
"""From this probability on a pair is told right with certainty."""
HOPELESS = 0.02
"""Below it the label is more likely wrong than the classifier."""
PRESUMED_HOPELESS = 0.5
"""The same for a label that was only presumed.  Read by eye, most such pairs below 0.3 are wrong
("the native city of X" is not where X was born), about half of those between 0.3 and 0.7, and few
above; a round over what is doubted would learn just the wrong ones."""
KEPT_EASY = 0.2
"""Of the pairs that are sure, the share that stays, so that nothing is unlearnt."""

_AT_ONCE = 4_096


def mined(pairs: Sequence[Pair], judge: Judge, told: Callable[[int], None]) -> Iterator[Pair]:
    """Yield the pairs that are doubted, and a share of the others; in their order.

    Which of the sure ones stay depends on their texts alone.

    Args:
        pairs: candidates.
        judge: the half-trained classifier.
        told: called with the number of pairs that were judged.

    """
    for first in range(0, len(pairs), _AT_ONCE):
        part = pairs[first : first + _AT_ONCE]
        for pair, probability in zip(part, judge(part), strict=True):
            hopeless = PRESUMED_HOPELESS if pair.kind.startswith(PRESUMED) else HOPELESS
            if hopeless <= probability < SURE or (probability >= SURE and _stays(pair)):
                yield pair
        told(len(part))


def _stays(pair: Pair) -> bool:
    digest = hashlib.sha256(f"{pair.prompt}\n{pair.edit}".encode()).digest()
    return int.from_bytes(digest[:2]) < KEPT_EASY * 65_536
