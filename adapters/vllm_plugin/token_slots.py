"""Which slot's entries each token of a batch looks in; LoRA kernels leave such tokens alone.

A codebook's LoRA has no factors.  vLLM would multiply with its zeros all the same, in every module:
on CPUs, whose kernels copy an adapter's factors for each token, that is four fifths of a step.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


class TokenSlots:
    """The slots of a running batch's tokens, as vLLM's mapping has them before each step.

    Args:
        wrapper: the model's ``PunicaWrapper``; its ``_update_base_metadata`` is changed.
        slots: adapters that may be in one batch.

    """

    def __init__(self, wrapper: Any, slots: int) -> None:
        indices: Tensor = wrapper._token_lora_indices
        self.slots = torch.full_like(indices, -1)
        """int64 [most tokens of a batch]; -1 for none.  Kept: written into before each step."""
        # One more than there are slots: the last is what -1, no adapter, reads.
        self._bare = torch.zeros(slots + 1, dtype=torch.bool, device=indices.device)
        self._wrapper = wrapper
        original = wrapper._update_base_metadata

        @functools.wraps(original)
        def update(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            self._take()

        wrapper._update_base_metadata = update

    def mark(self, slot: int, *, bare: bool) -> None:
        """Say whether the adapter in a slot has no factors."""
        self._bare[slot] = bare

    def _take(self) -> None:
        tokens: Tensor = self._wrapper.token_lora_indices
        self.slots[: len(tokens)].copy_(tokens)
        # Not on GPUs, where it was not tried: kernels skip little there, and graphs are recorded.
        if tokens.device.type != "cpu":
            return
        for indices in (tokens, self._wrapper.sampler_indices):
            indices.masked_fill_(self._bare[indices], -1)
