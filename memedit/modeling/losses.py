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
    """Grade by the mean cross-entropy of each row's target tokens, its prompt masked.

    Args:
        logits: [B, S, V], of any floating type; probabilities are taken in float32, and only
            where targets stand, since most of a batch is prompt.
        batch: the rows, on the device of ``logits``.

    """
    labels = batch.labels[:, 1:]
    mask = labels >= 0
    scores = torch.log_softmax(logits[:, :-1][mask].float(), -1)
    kept = labels[mask]
    losses = torch.zeros(labels.shape, dtype=scores.dtype, device=scores.device)
    losses = losses.masked_scatter(mask, -scores.gather(-1, kept[:, None])[:, 0])
    per_row = losses.sum(1) / mask.sum(1)
    said = torch.ones_like(mask).masked_scatter(mask, scores.argmax(-1) == kept)
    return Graded(per_row, said.all(1))
