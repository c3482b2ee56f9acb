"""Text that a model writes by itself: contexts for keys, and a corpus where no other is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from memedit.modeling.tokens import Tokens, encode_prompt, pad

Progress = Callable[[int, int], None]


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


def _begin(tokenizer: Any, start: str) -> Tokens:
    if start:
        return Tokens(encode_prompt(tokenizer, start).ids, ())
    opening = next(
        (n for n in (tokenizer.bos_token_id, tokenizer.eos_token_id) if isinstance(n, int)), 0
    )
    return Tokens((opening,), ())
