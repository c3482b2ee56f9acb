"""PMET: MEMIT whose search also shifts attention, so that the MLP need not carry all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from memedit.editing.memit import LeastSquares, MemitConfig
from memedit.modeling.architecture import Layer
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class PmetConfig(MemitConfig):
    """Settings of PMET."""


@register("pmet")
class Pmet(LeastSquares[PmetConfig]):
    """What attention and the MLP of the last layer give out is searched together.

    Only the MLP's part is written: attention moves general patterns around, and its weights stay.
    A layer takes 1/√(layers left) of the gap, as the paper spreads it.

    Source: Li et al. 2024, "PMET: Precise Model Editing in a Transformer", sections 4.1 and 4.2.
    """

    config_type = PmetConfig

    def shifted(self, last: Layer) -> list[nn.Module]:
        """Return the last layer's MLP and its attention."""
        return [last.mlp, last.attention]

    def share(self, left: int) -> float:
        """Return 1/√left."""
        return 1 / math.sqrt(left)
