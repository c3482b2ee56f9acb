"""Sequences that are decoded together over one key-value cache, padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from memedit.engine.loading import LoadedModel
from memedit.engine.sequence import GeneratedSequence


def prefill(
    loaded: LoadedModel, group: Sequence[GeneratedSequence], *, all_logits: bool = False
) -> tuple[torch.Tensor, Any]:
    """Read the prompts of ``group``, which must be equally long: nothing is padded.

    Returns:
        The logits, [B, 1, vocab] or, with ``all_logits``, [B, S, vocab]; and the cache.

    """
    ids = torch.tensor([sequence.prompt for sequence in group], device=loaded.device)  # [B, S]
    cache = DynamicCache() if loaded.can_be_padded else DynamicCache(config=loaded.model.config)
    keep: dict[str, Any] = {}
    if loaded.keeps_last_logits and not all_logits:
        keep["logits_to_keep"] = 1
    keep |= {loaded.cache_name: cache}
    result = loaded.model(input_ids=ids, use_cache=True, **keep)
    logits: torch.Tensor = result.logits
    return (logits if all_logits else logits[:, -1:]), result[loaded.cache_name]


class Batch:
    """Rows of one cache.  Row i holds ``pads[i]`` columns of nothing, then its sequence's tokens.

    Every row attends to its own tokens at its own positions only, so a row's answer does not
    depend on the others (up to the rounding of the matrix products).
    """

    def __init__(
        self, loaded: LoadedModel, cache: Any, sequences: Sequence[GeneratedSequence]
    ) -> None:
        """Start with what ``prefill`` returned for ``sequences``."""
        self._loaded = loaded
        self._cache = cache
        self.sequences = list(sequences)
        self._pads = [0] * len(self.sequences)
        self._width = len(self.sequences[0].prompt)  # columns of the cache

    def join(self, other: Batch) -> None:
        """Take over the rows of ``other``; needs a model that can be padded."""
        width = max(self._width, other._width)
        for mine, theirs in zip(self._cache.layers, other._cache.layers, strict=True):
            for name in ("keys", "values"):
                rows = [
                    pad(getattr(layer, name), (0, 0, width - batch._width, 0))  # [B, H, width, D]
                    for layer, batch in ((mine, self), (theirs, other))
                ]
                setattr(mine, name, torch.cat(rows))
        self._pads = [
            columns + width - batch._width for batch in (self, other) for columns in batch._pads
        ]
        self.sequences += other.sequences
        self._width = width

    def step(self) -> torch.Tensor:
        """Feed every sequence's last token; return the logits after it, [B, vocab]."""
        device = self._loaded.device
        tokens = torch.tensor([[sequence.output[-1]] for sequence in self.sequences], device=device)
        inputs: dict[str, Any] = {"input_ids": tokens}
        if self._loaded.can_be_padded:
            pads = torch.tensor(self._pads, device=device)[:, None]  # [B, 1]
            inputs["position_ids"] = self._width - pads
            if any(self._pads):
                columns = torch.arange(self._width + 1, device=device)[None]  # [1, S + 1]
                inputs["attention_mask"] = (columns >= pads).long()
        inputs[self._loaded.cache_name] = self._cache
        result = self._loaded.model(**inputs, use_cache=True)
        self._cache = result[self._loaded.cache_name]
        self._width += 1
        logits: torch.Tensor = result.logits[:, -1]
        return logits

    def drop_inactive(self) -> None:
        """Remove the rows of sequences that are done, and the columns that nobody needs now."""
        keep = [row for row, sequence in enumerate(self.sequences) if sequence.active]
        if len(keep) == len(self.sequences):
            return
        self.sequences = [self.sequences[row] for row in keep]
        self._pads = [self._pads[row] for row in keep]
        if not keep:
            return
        rows = torch.tensor(keep, device=self._loaded.device)
        spare = min(self._pads)
        for layer in self._cache.layers:
            layer.keys = layer.keys.index_select(0, rows)[:, :, spare:]
            layer.values = layer.values.index_select(0, rows)[:, :, spare:]
        self._pads = [columns - spare for columns in self._pads]
        self._width -= spare
