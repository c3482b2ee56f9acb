"""How well rows of a batch say their targets, and which rows go into one forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from memedit.modeling.losses import Graded, target_losses
from memedit.modeling.tokens import Batch, Tokens, pad


def parts(places: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Cut places into groups of at most ``rows``."""
    for first in range(0, len(places), rows):
        yield list(places[first : first + rows])


def grade(model: nn.Module, batch: Batch) -> Graded:
    """Run one batch and grade its targets; hooks that are on take part.

    Args:
        model: a transformers causal language model.
        batch: rows with prompts and targets.

    """
    output: Any = model(**batch.inputs(model))
    return target_losses(output.logits.float(), batch.to(output.logits.device))


def grades(
    model: nn.Module, tokenizer: Any, rows: Sequence[Tokens], at_once: int
) -> tuple[list[float], list[bool]]:
    """Return each row's loss and whether its target would be said, without gradients."""
    losses: list[float] = []
    said: list[bool] = []
    with torch.no_grad():
        for part in parts(range(len(rows)), at_once):
            graded = grade(model, pad([rows[n] for n in part], tokenizer))
            losses += graded.losses.tolist()
            said += graded.learned.tolist()
    return losses, said
