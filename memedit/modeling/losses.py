"""How far a model is from saying the targets: the losses that editing lowers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memedit.modeling.tokens import Batch


@dataclass(frozen=True, slots=True)
class Graded:
    """A batch under the present weights."""

    losses: Tensor
    """float32 [B]: with a graph."""
    learned: Tensor
    """bool [B]: whether the target would be said."""


def target_losses(logits: Tensor, batch: Batch) -> Graded:
    """Grade by the mean cross-entropy of each row's target tokens, its prompt masked."""
    labels = batch.labels[:, 1:]
    mask = labels >= 0
    kept = labels.clamp(min=0)
    scores = torch.log_softmax(logits[:, :-1], -1)
    losses = -scores.gather(-1, kept[..., None])[..., 0]
    per_row = (losses * mask).sum(1) / mask.sum(1)
    said = (scores.argmax(-1) == kept) | ~mask
    return Graded(per_row, said.all(1))
