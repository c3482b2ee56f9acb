"""Neurons beside an MLP's own: what they take in, when they fire, and what they add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.key_space import SAME
from memedit.errors import InvalidInputError

ROUNDING = 1e-4
"""What a product of matrices may be off, as a share of the norms that are multiplied."""
CLEAR = 0.1
"""How far under zero a neuron is to stay where it is silent, as a share of its own height."""


@dataclass(frozen=True, slots=True)
class Neurons:
    """Neurons that add ``relu(q·k + b) v`` where they fire, and not a bit elsewhere."""

    keys: Tensor
    """float32 [m, k]"""
    biases: Tensor
    """float32 [m]"""
    values: Tensor
    """float32 [m, d]"""

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device) -> Neurons:
        """Return them on a device."""
        return Neurons(*(getattr(self, name).to(device) for name in self.__slots__))

    def split(self, counts: Sequence[int]) -> list[Neurons]:
        """Cut them into groups, of so many each."""
        cut = [getattr(self, name).split(list(counts)) for name in self.__slots__]
        return [Neurons(*group) for group in zip(*cut, strict=True)]

    def heights(self, queries: Tensor) -> Tensor:
        """Return what the ReLU takes in, for queries [T, k]: float32 [T, m]."""
        return queries.float() @ self.keys.T + self.biases

    def added(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added, and where anything is.

        One product of matrices finds who may fire; those are then summed up in float64, so that
        what an edit adds is the same to the last bit whatever is in the batch, or beside it.

        Args:
            queries: [T, k], of any float dtype.

        Returns:
            float32 [T, d], and bool [T].

        """
        wide = queries.float()
        with torch.no_grad():
            size = wide.norm(dim=1).max() * self.keys.norm(dim=1).max()
            rows, which = (self.heights(wide) > -ROUNDING * size).nonzero(as_tuple=True)
        exact = (wide[rows].double() * self.keys[which].double()).sum(1) + self.biases[which]
        firing = exact.relu().float()
        added = wide.new_zeros(len(wide), self.values.shape[1])
        fired = torch.zeros(len(wide), dtype=torch.bool, device=wide.device)
        fired[rows[firing > 0]] = True
        return added.index_add(0, rows, firing[:, None] * self.values[which]), fired

    def quieted(self, own: Tensor, memory: Tensor) -> Neurons:
        """Return neurons of higher thresholds where they fire, or nearly, on what is not theirs.

        The threshold is put half way; at its own query a neuron adds what it did.  One that a
        threshold does not tell apart from others stays as it is.

        Args:
            own: [m, k], each one's own query.
            memory: [N, k], what it is to be silent on; its own query in it does not count.

        """
        at_own = (own.float() * self.keys).sum(1) + self.biases
        heights = self.heights(memory).masked_fill(~elsewhere(own, memory), -torch.inf)
        highest = heights.amax(0)
        raised = (highest > -CLEAR * at_own) & (highest < (1 - CLEAR) * at_own) & (at_own > 0)
        by = torch.where(raised, (at_own + highest) / 2, 0)
        larger = torch.where(raised, at_own / (at_own - by), 1)
        return Neurons(self.keys, self.biases - by, self.values * larger[:, None])


def elsewhere(own: Tensor, memory: Tensor) -> Tensor:
    """Tell for each of the memory [N, k] and each own query [m, k] whether they differ: [N, m].

    The same tokens are the same query, also in another batch, where the last digits are others.
    """
    wide = own.float()
    # not by products of matrices: what is to be told from 0 is what they round away
    distances = torch.cdist(memory.float(), wide, compute_mode="donot_use_mm_for_euclid_dist")
    found: Tensor = distances > SAME * wide.norm(dim=1)
    return found


def joined(parts: Sequence[Neurons]) -> Neurons:
    """Put neurons side by side; there must be some."""
    return Neurons(*(torch.cat([getattr(p, n) for p in parts]) for n in Neurons.__slots__))


def firing(neurons: Neurons) -> Any:
    """Return a forward hook, with keyword arguments, that adds what neurons add to an MLP."""

    def fire(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Tensor:
        states: Tensor = args[0] if args else kwargs["hidden_states"]
        widths = (neurons.keys.shape[1], neurons.values.shape[1])
        if (states.shape[-1], out.shape[-1]) != widths:
            raise InvalidInputError(
                f"the neurons take {widths[0]} numbers and give {widths[1]}, this MLP takes "
                f"{states.shape[-1]} and gives {out.shape[-1]}; they were learned for another model"
            )
        added, fired = neurons.added(states.reshape(-1, widths[0]))
        here = fired.reshape(out.shape[:-1])[..., None]
        return torch.where(here, out + added.reshape(out.shape).to(out.dtype), out)

    return fire
