"""Forward passes of a causal language model over a batch of texts of different lengths."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from memedit.evaluation.prompts import Encoded

_PADDABLE = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Batches:
    """Runs a model over padded batches."""

    model: Any
    """A ``PreTrainedModel`` with a language-modelling head."""
    pad: int
    """The token that fills up; it is masked, so any will do."""
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    max_length: int
    """Tokens of prompt and answer together."""

    @torch.no_grad()
    def logits(self, batch: Sequence[Encoded]) -> Iterator[tuple[Encoded, torch.Tensor]]:
        """Run one batch, padded on the right; yield each text's logits before its target tokens."""
        device, width = self.model.device, max(len(one.ids) for one in batch)
        ids = torch.full((len(batch), width), self.pad)  # [B, S]
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, one in enumerate(batch):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
            mask[row, : len(one.ids)] = 1
        first = min(one.prompt_length for one in batch) - 1
        kept: dict[str, Any] = {}
        if self.keeps_logits:  # the vocabulary is wide: only where some target is
            kept["logits_to_keep"] = torch.arange(first, width - 1, device=device)
        logits = self.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, **kept
        ).logits
        if not self.keeps_logits:
            logits = logits[:, first : width - 1]
        for row, one in enumerate(batch):
            start = one.prompt_length - 1 - first
            yield one, logits[row, start : start + len(one.target)]

    @torch.no_grad()
    def continued(
        self, prompts: Sequence[Sequence[int]], most: int, least: int
    ) -> list[tuple[list[int], bool]]:
        """Continue one batch greedily, padded on the left.

        Args:
            prompts: token ids.
            most: new tokens at most.
            least: end tokens are held back for so many tokens.

        Returns:
            For each prompt the new ids without the end token, and whether it ended by itself.

        """
        device, width = self.model.device, max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        new: list[list[int]] = [[] for _ in prompts]
        ended = [False] * len(prompts)
        running = list(range(len(prompts)))  # which prompt each row of the cache belongs to
        cache: Any = None
        held = torch.tensor(sorted(self.end_ids), device=device, dtype=torch.long)
        for step in range(min(most, self.max_length - width)):
            given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
            if cache is not None:
                given[self._cache_name] = cache
            if self.takes_positions:
                given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            if self.keeps_logits:
                given["logits_to_keep"] = 1
            out = self.model(**given, use_cache=True)
            cache, logits = out[self._cache_name], out.logits[:, -1]
            if step < least:
                logits[:, held] = -math.inf
            best = logits.argmax(-1)
            for row, token in enumerate(best.tolist()):
                if ended[running[row]]:
                    continue
                if token in self.end_ids:
                    ended[running[row]] = True
                else:
                    new[running[row]].append(token)
            left = [row for row, prompt in enumerate(running) if not ended[prompt]]
            if not left:
                break
            if 2 * len(left) <= len(running) and hasattr(cache, "batch_select_indices"):
                rows = torch.tensor(left, device=device)
                cache.batch_select_indices(rows)
                best, mask = best[rows], mask[rows]
                running = [running[row] for row in left]
            ids = best[:, None]
            mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=-1)
        return list(zip(new, ended, strict=True))

    @property
    def _cache_name(self) -> str:
        # transformers 5.24 gave argument and output a new name
        return "cache" if "cache" in self._arguments else "past_key_values"

    @cached_property
    def _arguments(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def keeps_logits(self) -> bool:
        """Whether the model can be told to compute the logits of some places only."""
        return "logits_to_keep" in self._arguments

    @property
    def takes_positions(self) -> bool:
        """Whether the places of tokens can be said, as padding on the left makes needful."""
        return "position_ids" in self._arguments

    @cached_property
    def can_be_padded(self) -> bool:
        """Whether texts of different lengths may share a batch; recurrent layers see padding."""
        config = self.model.config.get_text_config(decoder=True)
        layers = set(getattr(config, "layer_types", None) or ())
        return layers <= _PADDABLE and not getattr(self.model, "_is_stateful", False)
