"""EMMET: ROME's equality constraint for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from memedit.editing.base import Progress
from memedit.editing.closed_forms import equality
from memedit.editing.key_value import KeyValueConfig, KeyValueEditor
from memedit.editing.matrices import factors_of, made_of
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import WeightDelta
from memedit.registry import register
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class EmmetConfig(KeyValueConfig):
    """Settings of EMMET."""

    ridge: float = 1e-3
    """Added to the diagonal of Kᵀ C⁻¹ K, as a share of its mean."""

    def __post_init__(self) -> None:
        KeyValueConfig.__post_init__(self)
        if not self.ridge >= 0:
            raise InvalidInputError(f"ridge {self.ridge}: expected 0 or more")


@register("emmet")
class Emmet(KeyValueEditor[EmmetConfig]):
    """All edits into one layer: ΔW = (V - W K)(Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹.

    Source: Gupta et al. 2024, "A Unified Framework for Model Editing", section 4.
    """

    config_type = EmmetConfig

    def compute(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress,
    ) -> WeightDelta:
        """Search the values together and write all keys at once."""
        down = architecture(model).layer(self.layer).down
        found = self.search(model, tokenizer, requests, [down.module], progress)
        [states] = self.states(model, tokenizer, requests, [(down.module, "input")])
        keys = states.mean(1)
        factors = equality(
            (found.wanted - made_of(down, keys)).T,
            keys.T,
            self.moments[self.layer],
            self.config.ridge if len(requests) > 1 else 0.0,
        )
        return self.delta({down.name: factors_of(down, factors)}, found, requests)
