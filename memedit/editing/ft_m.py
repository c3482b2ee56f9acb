"""FT-M: fine-tune one MLP layer on the target, the prompt masked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memedit.editing.fine_tuning import FineTuning, FineTuningConfig
from memedit.modeling.losses import Graded, target_losses
from memedit.modeling.tokens import Batch
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class FtMConfig(FineTuningConfig):
    """Settings of FT-M."""


@register("ft-m")
class FtM(FineTuning[FtMConfig]):
    """Adam on one layer's value matrix; cross-entropy of the target's tokens, the prompt masked.

    Source: Zhang et al. 2024, "A Comprehensive Study of Knowledge Editing for Large Language
    Models", section 4.2.
    """

    config_type = FtMConfig

    def grade(self, logits: Tensor, batch: Batch) -> Graded:
        """Take every target token's cross-entropy after the prompt and the target before it."""
        return target_losses(logits, batch)
