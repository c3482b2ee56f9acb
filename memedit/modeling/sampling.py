"""Text that a model writes by itself: contexts for keys, and a corpus where no other is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import nn

from memedit.errors import InvalidInputError
from memedit.modeling.tokens import Tokens, encode_prompt, pad

Progress = Callable[[int, int], None]
BLOCK = 64
"""Texts that are sampled together, from one seed."""


def sample_texts(
    model: nn.Module,
    tokenizer: Any,
    starts: Sequence[str],
    tokens: int,
    *,
    seed: int = 0,
    top_k: int = 40,
    rows: int = 64,
    progress: Progress | None = None,
) -> list[str]:
    """Let a model go on from each start; returns start and continuation as plain text.

    The same seed gives the same texts on the same machine.  PyTorch's random state is put back.

    Args:
        model: a transformers causal language model in eval mode.
        tokenizer: its tokenizer.
        starts: what each text begins with; for an empty one only what begins a document.
        tokens: new tokens of each text.
        seed: of the draws.
        top_k: each token is drawn among so many.
        rows: texts written together.
        progress: called with (texts written, in all).

    """
    device = next(model.parameters()).device
    special = sorted({int(n) for n in tokenizer.all_special_ids})
    out: list[str] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        for first in range(0, len(starts), rows):
            batch = pad(
                [_begin(tokenizer, s) for s in starts[first : first + rows]], tokenizer, "left"
            )
            written: Any = model.generate(  # type: ignore[operator]
                batch.input_ids.to(device),
                attention_mask=batch.attention_mask.to(device),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=True,
                top_k=top_k,
                suppress_tokens=special,
                pad_token_id=int(tokenizer.pad_token_id or 0),
            )
            out += tokenizer.batch_decode(written, skip_special_tokens=True)
            if progress is not None:
                progress(len(out), len(starts))
    return out


class SampledTexts(Sequence[str]):
    """Texts that a model writes from what begins a document, written when they are asked for.

    They come in blocks, each with a seed of its own: what is read from the middle on costs only
    what is read, and several processes write each a share of what one would have written.

    Args:
        model: a transformers causal language model in eval mode.
        tokenizer: its tokenizer.
        count: texts of all shares together.
        tokens: new tokens of each text.
        seed: of the first block.
        share: which of the shares, from 1.
        shares: how many there are.

    Raises:
        InvalidInputError: there is no such share, or nothing for it to do.

    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        count: int,
        tokens: int,
        *,
        seed: int = 0,
        share: int = 1,
        shares: int = 1,
    ) -> None:
        blocks = -(-count // BLOCK)
        if not 1 <= share <= shares <= blocks:
            raise InvalidInputError(
                f"share {share} of {shares}: {count} texts are sampled in {blocks} blocks of at "
                f"most {BLOCK}, so that there are at most {blocks} shares"
            )
        self._model, self._tokenizer = model, tokenizer
        self._tokens, self._seed = tokens, seed
        self._blocks = [  # (number, texts); only the very last may be a short one
            (n, min(BLOCK, count - n * BLOCK)) for n in range(share - 1, blocks, shares)
        ]
        self._held: tuple[int, list[str]] = (-1, [])

    def __len__(self) -> int:
        """Count the share's texts."""
        return sum(size for _, size in self._blocks)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return a text or several; the block that was read last is kept."""
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        at, place = divmod(index, BLOCK)
        if self._held[0] != at:
            number, size = self._blocks[at]
            starts, seed = [""] * size, self._seed + number
            written = sample_texts(self._model, self._tokenizer, starts, self._tokens, seed=seed)
            self._held = (at, written)
        return self._held[1][place]


def _begin(tokenizer: Any, start: str) -> Tokens:
    if start:
        return Tokens(encode_prompt(tokenizer, start).ids, ())
    opening = next(
        (n for n in (tokenizer.bos_token_id, tokenizer.eos_token_id) if isinstance(n, int)), 0
    )
    return Tokens((opening,), ())
