"""FT-Constrained: fine-tune one MLP layer, no entry moving further than a bound."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memedit.editing.fine_tuning import FineTuning, FineTuningConfig
from memedit.errors import InvalidInputError
from memedit.modeling.losses import Graded, target_losses
from memedit.modeling.tokens import Batch
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class FtConstrainedConfig(FineTuningConfig):
    """Settings of FT-Constrained."""

    bound: float = 5e-3
    """Largest size of any entry of the change."""

    def __post_init__(self) -> None:
        FineTuningConfig.__post_init__(self)
        if not self.bound > 0:
            raise InvalidInputError(f"bound {self.bound}: expected a number above 0")


@register("ft-constrained")
class FtConstrained(FineTuning[FtConstrainedConfig]):
    """FT-M's loss under ||ΔW||∞ <= bound; after every step the change is projected onto it.

    The projection is exact: the change itself is what is optimised, and it is clamped.

    Source: Zhu et al. 2020, "Modifying Memories in Transformer Models", section 3.
    """

    config_type = FtConstrainedConfig

    def limit(self) -> float | None:
        """Return the bound of the settings."""
        return self.config.bound

    def grade(self, logits: Tensor, batch: Batch) -> Graded:
        """Take every target token's cross-entropy after the prompt and the target before it."""
        return target_losses(logits, batch)
