"""Edits as rows of a batch: each prompt behind several contexts, and where its subject ends.

Keys and values are means over contexts, so that an edit holds wherever its subject is mentioned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from memedit.modeling.forms import PromptForm
from memedit.modeling.hooks import Places
from memedit.modeling.sampling import sample_texts
from memedit.modeling.subject import subject_span
from memedit.modeling.tokens import Batch, Tokens, pad
from memedit.types import EditRequest

STARTERS = ("The", "Therefore", "Because", "I", "You")
"""What a sampled context begins with."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: an edit's prompt in a context, with or without its target."""

    tokens: Tokens
    subject: int
    """Index of the subject's last token, in the unpadded row."""
    edit: int
    """Which edit it belongs to."""


@dataclass(frozen=True, slots=True)
class Padded:
    """Rows in one batch."""

    batch: Batch
    subjects: Places
    """Where the subjects end, in the padded batch."""
    edits: torch.Tensor
    """int64 [B]: which edit each row belongs to."""


def sample_contexts(
    model: nn.Module, tokenizer: Any, count: int, tokens: int, seed: int
) -> tuple[str, ...]:
    """Let the model write what may stand before a prompt; the first context is always empty.

    Args:
        model: in eval mode.
        tokenizer: its tokenizer.
        count: contexts beside the empty one.
        tokens: new tokens of each.
        seed: of the draws.

    """
    starts = [STARTERS[n % len(STARTERS)] for n in range(count)]
    texts = sample_texts(model, tokenizer, starts, tokens, seed=seed, top_k=10) if count else []
    return ("", *(f"{' '.join(text.split())}. " for text in texts))


def place(
    tokenizer: Any,
    request: EditRequest,
    tokens: Tokens,
    prompt: str,
    edit: int,
    form: PromptForm | None,
) -> Row:
    """Find the subject of an edit in one of its prompts.

    Raises:
        InvalidInputError: the prompt does not hold it.

    """
    _, span = subject_span(tokenizer, prompt, request.subject, form)
    return Row(tokens, span.last, edit)


def padded(rows: Sequence[Row], tokenizer: Any) -> Padded:
    """Pad rows on the right; where their subjects end is shifted with them."""
    batch = pad([row.tokens for row in rows], tokenizer)
    ends = torch.tensor([row.subject for row in rows]) + batch.starts
    return Padded(batch, Places.one_per_row(ends), torch.tensor([row.edit for row in rows]))
