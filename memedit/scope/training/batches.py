"""From pairs of texts to batches of token ids, in few shapes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memedit.scope.pair_input import PairTokenizer
from memedit.scope.training.pairs import Pair
from memedit.scope.wordings import with_answer
from memedit.types import ScopeLabel

LABELS = (ScopeLabel.DIRECT, ScopeLabel.DEPENDENT, ScopeLabel.UNRELATED)
"""The order of the classifier's outputs."""

_SORTED = 16
"""Batches whose pairs are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Batch:
    """ids, segments and mask, int64 ``[B, T]``; labels, int64 ``[B]``."""

    ids: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def batches_of(
    pairs: Sequence[Pair], tokenizer: PairTokenizer, size: int, seed: int
) -> Iterator[Batch]:
    """Yield every pair once, in an order of the seed; what does not fill a batch is left out.

    Every other edit is read with its answer, as it is judged both with it and without.
    """
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)
    readings = random.Random(f"{seed}:readings")
    for first in range(0, len(order) - size + 1, _SORTED * size):
        chosen = [pairs[i] for i in order[first : first + _SORTED * size]]
        rows = sorted(
            (
                (
                    tokenizer.ids(p.prompt, readings.choice(with_answer(p.edit, p.answer))),
                    LABELS.index(p.label),
                )
                for p in chosen
            ),
            key=lambda row: len(row[0][0]),
        )
        groups = [rows[at : at + size] for at in range(0, len(rows) - size + 1, size)]
        random.Random(f"{seed}:{first}").shuffle(groups)
        for group in groups:
            ids, segments, mask = tokenizer.padded([row for row, _ in group], grain=8)
            yield Batch(
                ids.astype(np.int64),
                segments.astype(np.int64),
                mask.astype(np.int64),
                np.array([label for _, label in group], np.int64),
            )
