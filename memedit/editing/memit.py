"""MEMIT: many facts at once, spread over several layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor, nn

from memedit.editing.base import Progress
from memedit.editing.closed_forms import Factors, least_squares, solve
from memedit.editing.key_value import KeyValueConfig, KeyValueEditor
from memedit.editing.matrices import factors_of
from memedit.editing.values import SearchConfig
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Layer, architecture
from memedit.modeling.delta import LowRank, WeightDelta
from memedit.registry import register
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class SpreadingConfig(KeyValueConfig):
    """Settings of methods that spread an edit over several layers."""

    search: SearchConfig = field(default_factory=lambda: SearchConfig(clamp=2.0))
    """How states are searched; a block's output is several times as long as an MLP's."""


@dataclass(frozen=True, slots=True)
class MemitConfig(SpreadingConfig):
    """Settings of MEMIT."""

    reach: float = 0.9
    """Share of the way to its value that a key of mean kᵀ C⁻¹ k goes if it is written alone; it
    sets λ where ``preserve`` does not."""
    preserve: float | None = None
    """λ, the weight of the old keys' second moment, as it is published for a model (15,000 for
    GPT-J, whose keys have 16,384 numbers); ``None``: from ``reach``, since what the same number
    leaves of an edit is another share in every model."""

    def __post_init__(self) -> None:
        KeyValueConfig.__post_init__(self)
        if not 0 < self.reach < 1:
            raise InvalidInputError(f"reach {self.reach}: expected a share between 0 and 1")
        if self.preserve is not None and not self.preserve > 0:
            raise InvalidInputError(f"preserve {self.preserve}: expected a number above 0")


S = TypeVar("S", bound=SpreadingConfig)


class Spreading(KeyValueEditor[S]):
    """A method that closes the gap to the values layer by layer, going up.

    What is wanted is the state of the last layer; every layer takes its share of what is still
    missing, and the next one measures again with the changes below it in place.
    """

    spreads = True

    def compute(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress,
    ) -> WeightDelta:
        """Search the states, then change layer after layer."""
        parts = architecture(model)
        last = parts.layer(self.layers[-1])
        found = self.search(model, tokenizer, requests, self.shifted(last), progress)
        reached, wanted = self.shifted(last)[0], found.wanted
        changes: dict[str, LowRank] = {}
        keys_written: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for done, number in enumerate(self.layers):
                layer = parts.layer(number)
                now, keys = self.states(
                    model,
                    tokenizer,
                    requests,
                    [(reached, "output"), (layer.down.module, "input")],
                )
                gap = (wanted - now[:, 0]) * self.share(len(self.layers) - done)
                mean = keys.mean(1).T
                factors = self.write(number, gap.T, mean)
                change = factors_of(layer.down, factors)
                changes[layer.down.name] = change
                keys_written[layer.down.name] = mean.float().contiguous()
                step = WeightDelta({layer.down.name: change}, self.name)
                stack.enter_context(step.applied(model))
        return replace(self.delta(changes, found, requests), keys=keys_written)

    def shifted(self, last: Layer) -> list[nn.Module]:
        """Return the modules whose outputs are searched for; the first one's is the goal."""
        return [last.block]

    def share(self, left: int) -> float:
        """Return the share of the gap that a layer closes, ``left`` layers to go with it."""
        return 1 / left

    @abstractmethod
    def write(self, layer: int, residuals: Tensor, keys: Tensor) -> Factors:
        """Return the change of one layer: residuals [out, B], keys [in, B], float64."""


M = TypeVar("M", bound=MemitConfig)


class LeastSquares(Spreading[M]):
    """The closed form of MEMIT: ΔW = R Kᵀ (λC + K Kᵀ)⁻¹."""

    def write(self, layer: int, residuals: Tensor, keys: Tensor) -> Factors:
        """Write the keys, weighed against the old ones."""
        moment, weight = self.moments[layer], self.config.preserve
        if weight is None:
            # A key alone goes m/(1+m) of the way, m = kᵀ C⁻¹ k / λ.
            lengths = (keys * solve(moment, keys)).sum(0)
            weight = float(lengths.mean()) * (1 - self.config.reach) / self.config.reach
        return least_squares(residuals, keys, moment * weight)


@register("memit")
class Memit(LeastSquares[MemitConfig]):
    """States of the last layer's block are searched, and reached by the MLPs of several layers.

    Source: Meng et al. 2023, "Mass-Editing Memory in a Transformer", section 4.
    """

    config_type = MemitConfig
