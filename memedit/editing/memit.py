"""MEMIT: many facts at once, spread over several layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor, nn

from memedit.editing.base import Progress
from memedit.editing.closed_forms import Factors, least_squares
from memedit.editing.key_value import KeyValueConfig, KeyValueEditor
from memedit.editing.matrices import factors_of
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Layer, architecture
from memedit.modeling.delta import LowRank, WeightDelta
from memedit.registry import register
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class MemitConfig(KeyValueConfig):
    """Settings of MEMIT."""

    preserve: float | None = None
    """λ, the weight of the old keys' second moment; ``None``: as many as a key has numbers (for
    GPT-J's 16,384 that is about the published 15,000)."""

    def __post_init__(self) -> None:
        KeyValueConfig.__post_init__(self)
        if self.preserve is not None and not self.preserve > 0:
            raise InvalidInputError(f"preserve {self.preserve}: expected a number above 0")


S = TypeVar("S", bound=KeyValueConfig)


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
        weight = self.config.preserve
        moment = self.moments[layer]
        return least_squares(residuals, keys, moment * (len(moment) if weight is None else weight))


@register("memit")
class Memit(LeastSquares[MemitConfig]):
    """States of the last layer's block are searched, and reached by the MLPs of several layers.

    Source: Meng et al. 2023, "Mass-Editing Memory in a Transformer", section 4.
    """

    config_type = MemitConfig
