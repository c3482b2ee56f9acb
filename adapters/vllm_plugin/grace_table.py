"""GRACE's look-up for batches whose tokens belong to different adapters, or to none.

What is looked up, and how, is ``codebook.Table.nearest``: the two nearest keys by a product of
matrices, their distances taken anew.  Here the entries of all adapters stand in one table, so that
shapes and addresses stay as they are when adapters come and go: a compiled or a recorded forward
pass goes on using them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memedit.adapters.codebook import Table


@dataclass(frozen=True, slots=True)
class Book:
    """What one adapter looks up, and where."""

    layer: int
    table: Table


class GraceTable:
    """The entries of one layer: ``slots`` regions of ``capacity`` each."""

    def __init__(
        self,
        slots: int,
        capacity: int,
        width: int,
        token_slots: Tensor,
        dtype: torch.dtype,
    ) -> None:
        """Make an empty table on the device of ``token_slots``.

        Args:
            slots: adapters that may be in one batch.
            capacity: entries of each.
            width: numbers in a key and in a value.
            token_slots: int64 [at least T]; the slot of each token of the running batch, -1 for
                none.  Kept, and read anew at each look-up: vLLM writes into it before each step.
            dtype: of the values.

        """
        device = token_slots.device
        entries = slots * capacity
        self.capacity, self.width = capacity, width
        self.token_slots = token_slots
        # float32 by name: vLLM has the model's type as the default one while it loads the model
        exact = torch.float32
        self.keys = torch.zeros(entries, width, device=device, dtype=exact)
        self.values = torch.zeros(entries, width, device=device, dtype=dtype)
        # of unused entries: never nearest, and nothing is within
        self.squares = torch.full((entries,), torch.inf, device=device, dtype=exact)
        self.radii = torch.full((entries,), -1.0, device=device, dtype=exact)
        self.slot_of = torch.arange(slots, device=device).repeat_interleave(capacity)
        self.used = [0] * slots
        """Entries in each slot."""

    @torch.no_grad()
    def write(self, slot: int, table: Table | None) -> None:
        """Put an adapter's entries into a slot, in place of what is there; ``None``: nothing.

        Raises:
            ValueError: they are too many or too wide; the slot is empty then.

        """
        start = slot * self.capacity
        whole = slice(start, start + self.capacity)
        self.used[slot] = 0
        self.radii[whole] = -1.0
        self.squares[whole] = torch.inf
        if table is None:
            return
        if len(table.keys) > self.capacity:
            raise ValueError(f"{len(table.keys)} entries, expected at most {self.capacity}")
        if {table.keys.shape[1], table.values.shape[1]} != {self.width}:
            raise ValueError(
                f"keys of {table.keys.shape[1]} and values of {table.values.shape[1]} numbers, "
                f"expected {self.width}"
            )
        part = slice(start, start + len(table.keys))
        self.keys[part] = table.keys.to(self.keys.device, torch.float32)
        self.values[part] = table.values.to(self.values.device, self.values.dtype)
        self.squares[part] = self.keys[part].square().sum(1)
        self.radii[part] = table.radii.to(self.radii.device, torch.float32)
        self.used[slot] = len(table.keys)

    @torch.no_grad()
    def look_up(self, states: Tensor, out: Tensor) -> None:
        """Put values into ``out``, in place, in the rows of tokens whose key is near.

        Args:
            states: [T, width], what the MLP took in.
            out: [T, width], what it gave out.

        """
        if out.device.type == "cpu":
            self.look_up_by_slot(states, out)
        else:
            self.look_up_at_once(states, out)

    def look_up_by_slot(self, states: Tensor, out: Tensor) -> None:
        """Do it slot by slot: where no token has an adapter with entries, nothing is computed.

        Which slots are there decides what is done, so this cannot be recorded (CUDA graphs).
        """
        slots = self.token_slots[: len(states)]
        for slot, used in enumerate(self.used):
            if not used:
                continue
            rows = (slots == slot).nonzero()[:, 0]
            if not len(rows):
                continue
            part = slice(slot * self.capacity, slot * self.capacity + used)
            found, near = Table(self.keys[part], self.radii[part], self.values[part]).nearest(
                states[rows]
            )
            out[rows[near]] = self.values[part][found[near]].to(out.dtype)

    def look_up_at_once(self, states: Tensor, out: Tensor) -> None:
        """Do it for all tokens and entries, whatever they are: the same operations each time."""
        slots = self.token_slots[: len(states)]
        wide = states.float()
        rough = self.squares - 2 * (wide @ self.keys.T)  # [T, entries]
        rough = rough.masked_fill(self.slot_of != slots[:, None], torch.inf)
        two = rough.topk(min(2, len(self.keys)), largest=False).indices  # [T, 2]
        distances = (wide[:, None] - self.keys[two]).square().sum(2).sqrt()
        # Where a slot has fewer than two entries, the second "nearest" is one of another slot.
        distances = distances.masked_fill(self.slot_of[two] != slots[:, None], torch.inf)
        distances = distances.masked_fill(self.squares[two].isinf(), torch.inf)
        distance, first = distances.min(1)
        found = two.gather(1, first[:, None])[:, 0]
        near = distance <= self.radii[found]
        out.copy_(torch.where(near[:, None], self.values[found].to(out.dtype), out))
