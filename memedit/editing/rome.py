"""ROME: one fact into one layer, by a change of rank one, as it was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from memedit.editing.base import Progress
from memedit.editing.closed_forms import rank_one
from memedit.editing.key_value import KeyValueConfig, KeyValueEditor
from memedit.editing.matrices import factors_of, made_of, stacked
from memedit.editing.values import Extra
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import WeightDelta
from memedit.registry import register
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class RomeConfig(KeyValueConfig):
    """Settings of ROME."""


R = TypeVar("R", bound=RomeConfig)


class RankOne(KeyValueEditor[R]):
    """One change of rank one per edit: u = C⁻¹ k̄, ΔW = (v* - W k) uᵀ / (k · u).

    Several edits in one call are written one after another, each into what the ones before left;
    their values are searched together.
    """

    same_key = True
    """Whether k is k̄, the mean over contexts, everywhere."""

    def compute(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress,
    ) -> WeightDelta:
        """Search the values together, then write key after key."""
        down = architecture(model).layer(self.layer).down
        extra = self.extra(model, tokenizer, requests)
        found = self.search(model, tokenizer, requests, [down.module], progress, extra)
        [keys] = self.states(model, tokenizer, requests, [(down.module, "input")])
        mean, bare, values = keys.mean(1), keys[:, 0], found.wanted
        changes: list[tuple[Tensor, Tensor]] = []
        for number in range(len(requests)):
            key, other = mean[number], bare[number]
            asked = key if self.same_key else other
            now = made_of(down, asked[None])[0] + _added(changes, asked)
            divisor = None if self.same_key else other
            changes.append(rank_one(values[number] - now, key, self.moments[self.layer], divisor))
        change = factors_of(down, stacked(changes))
        return self.delta({down.name: change}, found, requests)

    def extra(
        self, model: nn.Module, tokenizer: Any, requests: Sequence[EditRequest]
    ) -> Extra | None:
        """Return one more term of the search's loss; ROME has none."""
        return None


@register("rome")
class Rome(RankOne[RomeConfig]):
    """ROME as its code has it: u is made of the mean key, W k and k · u of the bare prompt's.

    The two keys are not the same, which is harmless once and adds up in sequences of edits until
    the model collapses: ``r-rome`` is the same method with one key.

    Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 3.1.
    """

    config_type = RomeConfig
    same_key = False


def _added(changes: Sequence[tuple[Tensor, Tensor]], key: Tensor) -> Tensor | float:
    """Return what the changes so far make of a key."""
    return sum(((left @ (right @ key)) for left, right in changes), start=0.0)
