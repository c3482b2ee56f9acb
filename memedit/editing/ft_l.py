"""FT-L: fine-tune one MLP layer so that the last prompt token predicts all target tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memedit.editing.fine_tuning import FineTuning, FineTuningConfig
from memedit.errors import InvalidInputError
from memedit.modeling.losses import Graded, target_losses
from memedit.modeling.tokens import Batch
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class FtLConfig(FineTuningConfig):
    """Settings of FT-L."""

    bound: float | None = None
    """Largest size of any entry of the change; ``None``: no limit."""

    def __post_init__(self) -> None:
        FineTuningConfig.__post_init__(self)
        if self.bound is not None and not self.bound > 0:
            raise InvalidInputError(f"bound {self.bound}: expected a number above 0, or none")


@register("ft-l")
class FtL(FineTuning[FtLConfig]):
    """Adam on one layer's value matrix; the last prompt token is to predict all target tokens.

    That is the published baseline, with its flaw: of a target of several tokens all share one
    prediction, so that the order is not taught.  What counts as learned is that same objective:
    each target token has its share of the last prompt token's prediction.

    Source: Meng et al. 2022, section 4 (FT, and FT+L with ``bound``).
    """

    config_type = FtLConfig

    def limit(self) -> float | None:
        """Return the bound of the settings."""
        return self.config.bound

    def grade(self, logits: Tensor, batch: Batch) -> Graded:
        """Take the cross-entropy of all target tokens in the last prompt token's prediction.

        The least that it can be, the entropy of the target's tokens, is taken off.
        """
        rows = torch.arange(len(logits), device=logits.device)
        scores = torch.log_softmax(logits[rows, batch.prompt_last].float(), -1)
        mask = batch.labels >= 0
        kept = batch.labels.clamp(min=0)
        count = mask.sum(1)
        losses = -(scores.gather(1, kept) * mask).sum(1) / count
        same = (kept[:, :, None] == kept[:, None, :]) & mask[:, None, :]
        shares = same.sum(2) / count[:, None]
        least = -(shares.clamp(min=1e-9).log() * mask).sum(1) / count
        return Graded(losses - least, target_losses(logits, batch).learned)
