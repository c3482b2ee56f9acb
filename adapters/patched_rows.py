"""Rows of a batch that a patch is written into: what the model says with it, mixed in.

The gate looks at a row once, at its prompt's last token.  Where it opens, the row is run a second
time, whole, with the patch before what is asked; what comes out is mixed with what the model says
without it.  The row's own cache never sees the patch: that run goes without one, at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from memedit.adapters.patch_gate import Gate
from memedit.adapters.row_choice import RowChoice
from memedit.errors import InvalidInputError
from memedit.modeling.hooks import Places, replace
from memedit.modeling.tokens import Batch, Tokens, pad

_PADDING = SimpleNamespace(pad_token_id=0, eos_token_id=0)  # masked: any token will do


@dataclass(frozen=True, slots=True)
class Patch:
    """An edit as a patch in words."""

    edit: str
    tokens: tuple[int, ...]
    """Of its text."""
    condition: Tensor
    """float32 [d]: the state of the edit's own prompt, which the gate compares with."""
    embeddings: Tensor | None = None
    """float32 [n, e]: what its tokens are embedded as, where those of the text were not enough."""


@dataclass(frozen=True, slots=True)
class Written:
    """A row with a patch written into it."""

    ids: tuple[int, ...]
    at: int
    """Where the patch begins."""
    length: int
    """Of the patch."""


def written(row: Sequence[int], patch: Patch, heads: Sequence[tuple[int, ...]]) -> Written:
    """Write a patch into a row, right before what is asked.

    Args:
        row: the row's own tokens.
        patch: what is written.
        heads: what can stand before it: the header of a chat turn, or what begins a document.

    """
    at = max((len(head) for head in heads if tuple(row[: len(head)]) == head), default=0)
    return Written((*row[:at], *patch.tokens, *row[at:]), at, len(patch.tokens))


@contextmanager
def embedded(
    embedding: nn.Module, batch: Batch, rows: Sequence[Written], values: Sequence[Tensor | None]
) -> Iterator[None]:
    """Embed the tokens of patches as ``values`` say, each [n, e]; ``None``: as they are."""
    pairs = [
        (number, int(batch.starts[number]) + row.at + token)
        for number, (row, value) in enumerate(zip(rows, values, strict=True))
        if value is not None
        for token in range(row.length)
    ]
    if not pairs:
        yield
        return
    stacked = torch.cat([value for value in values if value is not None])
    with replace(embedding, "output", Places.of(pairs, len(rows)), stacked):
        yield


class PatchedRows(RowChoice):
    """Patches at work on one model.

    Args:
        model: it itself.
        patches: what can be written.
        heads: see ``written``.
        gate: which patch a row gets.
        embedding: the model's token embedding.

    """

    def __init__(
        self,
        model: nn.Module,
        patches: Sequence[Patch],
        heads: Sequence[tuple[int, ...]],
        gate: Gate,
        embedding: nn.Module,
    ) -> None:
        super().__init__(self._open)
        device = next(model.parameters()).device
        self._model, self._embedding, self._gate = model, embedding, gate.to(device)
        self._patches, self._heads = list(patches), list(heads)
        self._conditions = torch.stack([one.condition for one in patches]).to(device)
        self._open_by: Tensor | None = None
        self._tokens: Tensor | None = None
        self._ids: Tensor | None = None
        self._keep: Tensor | None = None
        self._inside = False

    def _open(self, states: Tensor) -> Tensor:
        """Return each row's patch, or -1, and keep how open its gate is."""
        opened, best = self._gate.logits(states, self._conditions).max(1)
        self._open_by = opened
        return torch.where(opened >= 0, best, -1)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._inside:
            return
        self._tokens = self._open_by = None
        super()._before(module, args, kwargs)
        ids: Any = args[0] if args else kwargs.get("input_ids")
        self._ids = None
        keep: Any = kwargs.get("logits_to_keep")
        self._keep = keep if isinstance(keep, Tensor) and keep.ndim else None
        if ids is None:
            return
        mask: Any = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            ids = torch.where(mask[:, -ids.shape[1] :].bool(), ids, -1)
        self._ids = ids

    def _decide(self, found: Any) -> None:
        if not self._inside:
            super()._decide(found)

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._inside:
            return
        if self.chosen() is not None:
            if self._ids is None:
                raise InvalidInputError(
                    "a patch is written in tokens, and the model was asked with embeddings; ask "
                    "it with input_ids"
                )
            before = self._tokens
            self._tokens = self._ids if before is None else torch.cat([before, self._ids], 1)
            self._mix(output, 0 if before is None else before.shape[1])
        elif self._chosen is not None:
            self._tokens = self._chosen.new_zeros(len(self._chosen), 0)
        super()._after(module, args, kwargs, output)

    def _remembered(self) -> tuple[Tensor, ...]:
        assert self._chosen is not None and self._open_by is not None and self._tokens is not None
        return self._chosen, self._open_by, self._tokens

    def _recall(self, kept: tuple[Tensor, ...]) -> None:
        self._chosen, self._open_by, self._tokens = kept

    def _mix(self, output: Any, earlier: int) -> None:
        """Mix what is said with a patch into the logits of rows that have one.

        Args:
            output: of the run; its logits [B, s, V] are replaced.
            earlier: columns of the rows' tokens that runs before this one had.

        """
        chosen, tokens, opened = self._chosen, self._tokens, self._open_by
        assert chosen is not None and tokens is not None and opened is not None
        at = (chosen >= 0).nonzero()[:, 0].tolist()
        said = self._said([tokens[row][tokens[row] >= 0].tolist() for row in at], chosen[at])
        logits: Tensor = output.logits.clone()
        width = tokens.shape[1]
        if self._keep is not None:  # of this run's columns
            places = self._keep.to(tokens.device) + earlier
        else:  # all of them, or the last
            places = torch.arange(width - logits.shape[1], width, device=tokens.device)
        for row, theirs in zip(at, said, strict=True):
            real = tokens[row] >= 0
            own = torch.where(real, real.cumsum(0) - 1, -1)[places]  # of the row's own tokens
            # of a prompt only its end counts: what was asked is not answered before it was read
            first = earlier if earlier or self._last is None else int(self._last[row])
            kept = (own >= 0) & (places >= first)
            there = kept.nonzero()[:, 0].to(logits.device)
            mine = logits[row, there].float().log_softmax(-1)
            other = theirs[own[kept].to(theirs.device)].float().log_softmax(-1)
            gate = functional.logsigmoid(torch.stack([opened[row], -opened[row]]).to(mine))
            logits[row, there] = torch.logaddexp(gate[0] + other, gate[1] + mine).to(logits.dtype)
        output.logits = logits

    def _said(self, rows: Sequence[Sequence[int]], numbers: Tensor) -> list[Tensor]:
        """Run rows with their patches; returns the logits of each row's own tokens: [n, V]."""
        chosen = [self._patches[number] for number in numbers.tolist()]
        whole = [written(row, patch, self._heads) for row, patch in zip(rows, chosen, strict=True)]
        batch = pad([Tokens(one.ids, ()) for one in whole], _PADDING)
        device = self._conditions.device
        values = [None if p.embeddings is None else p.embeddings.to(device) for p in chosen]
        self._inside = True
        try:
            with embedded(self._embedding, batch, whole, values):
                out: Tensor = self._model(**batch.inputs(self._model)).logits
        finally:
            self._inside = False
        return [
            torch.cat([out[n, : one.at], out[n, one.at + one.length : len(one.ids)]])
            for n, one in enumerate(whole)
        ]
