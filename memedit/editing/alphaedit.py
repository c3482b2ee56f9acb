"""AlphaEdit: changes that lie in the null space of what the model knows already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from memedit.editing.base import Progress
from memedit.editing.closed_forms import Factors, null_space, within
from memedit.editing.memit import Spreading, SpreadingConfig
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class AlphaEditConfig(SpreadingConfig):
    """Settings of AlphaEdit."""

    share: float = 0.2
    """A direction of the keys is free when its second moment is under this share of the mean."""
    ridge: float = 1e-2
    """Weight of ‖ΔW‖², as a share of the mean squared size of what of a key lies in the null
    space: a key alone goes 1/(1 + ridge) of the way, however little of it does."""

    def __post_init__(self) -> None:
        SpreadingConfig.__post_init__(self)
        if not (self.share > 0 and self.ridge > 0):
            raise InvalidInputError(
                f"share {self.share}, ridge {self.ridge}: expected numbers above 0"
            )


@register("alphaedit")
class AlphaEdit(Spreading[AlphaEditConfig]):
    """MEMIT's states, reached inside the null space of C; keys of earlier edits are kept too.

    Earlier edits are those whose deltas are given as ``after`` (see `Editor.edit`): M = Σ K Kᵀ of
    a layer is made of the keys that they recorded, so an edit that was taken back is forgotten.

    Source: Fang et al. 2025, "AlphaEdit: Null-Space Constrained Knowledge Editing for Language
    Models", section 3.
    """

    config_type = AlphaEditConfig
    bases: dict[int, Tensor]
    """Layer -> an orthonormal basis of the null space, float64 [in, r]."""
    names: dict[int, str]
    """Layer -> its value matrix's name."""

    def resolved(
        self, model: nn.Module, tokenizer: Any = None, progress: Progress | None = None
    ) -> Self:
        """Settle what every method settles, and the null spaces."""
        settled = super().resolved(model, tokenizer, progress)
        settled.bases = {
            layer: self._basis(layer, moment) for layer, moment in settled.moments.items()
        }
        settled.names = {n: architecture(model).layer(n).down.name for n in settled.layers}
        return settled

    def write(self, layer: int, residuals: Tensor, keys: Tensor) -> Factors:
        """Write the keys inside the null space."""
        before = [d.keys[self.names[layer]] for d in self.after if self.names[layer] in d.keys]
        earlier: Tensor | None = None
        if before:
            old = torch.cat([k.double() for k in before], 1)
            earlier = old @ old.T
        basis = self.bases[layer]
        ridge = self.config.ridge * float((basis.T @ keys).square().sum(0).mean())
        return within(residuals, keys, basis, earlier, ridge)

    def _basis(self, layer: int, moment: Tensor) -> Tensor:
        basis = null_space(moment, self.config.share)
        if basis.shape[1] == 0:
            raise InvalidInputError(
                f"no direction of the keys of layer {layer} has a second moment under "
                f"{self.config.share} of the mean; AlphaEdit has no room. Give a larger share"
            )
        return basis
