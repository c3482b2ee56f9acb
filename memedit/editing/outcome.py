"""What a delta brings about: whether new answers are said with it, and how probable they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from memedit.modeling.delta import WeightDelta
from memedit.modeling.losses import target_losses
from memedit.modeling.tokens import Tokens, pad


@dataclass(frozen=True, slots=True)
class Outcome:
    """Each edit, asked at its own prompt."""

    losses_before: list[float]
    """Mean cross-entropy of the target's tokens under the unedited weights, nats."""
    losses: list[float]
    """The same with the delta."""
    said: list[bool]
    """Whether the target is what would be said with the delta."""

    @property
    def before(self) -> float:
        """Mean over the edits."""
        return sum(self.losses_before) / len(self.losses_before)

    @property
    def after(self) -> float:
        """Mean over the edits."""
        return sum(self.losses) / len(self.losses)


def outcome_of(
    model: nn.Module,
    tokenizer: Any,
    rows: Sequence[Tokens],
    delta: WeightDelta,
    at_once: int = 32,
) -> Outcome:
    """Ask a model for its edits, without the delta and with it; its weights end as they were.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        rows: prompt and target of each edit, at least one; see ``Editor.tokens``.
        delta: what is applied for the second half.
        at_once: rows of one forward.

    """
    before, _ = _graded(model, tokenizer, rows, at_once)
    with delta.applied(model):
        after, said = _graded(model, tokenizer, rows, at_once)
    return Outcome(before, after, said)


def _graded(
    model: nn.Module, tokenizer: Any, rows: Sequence[Tokens], at_once: int
) -> tuple[list[float], list[bool]]:
    losses: list[float] = []
    said: list[bool] = []
    with torch.no_grad():
        for first in range(0, len(rows), at_once):
            batch = pad(rows[first : first + at_once], tokenizer)
            output: Any = model(**batch.inputs(model))
            graded = target_losses(output.logits, batch.to(output.logits.device))
            losses += graded.losses.tolist()
            said += graded.learned.tolist()
    return losses, said
