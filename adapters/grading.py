"""How well rows of a batch say their targets, and which rows go into one forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.learned import Attachment
from memedit.modeling.hooks import Places, Side, catch
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


def prompt_states(
    model: nn.Module,
    tokenizer: Any,
    module: nn.Module,
    side: Side,
    prompts: Sequence[tuple[int, ...]],
    at_once: int,
) -> Tensor:
    """Return what a module takes in or gives out at each prompt's last token: float32 [B, d]."""
    found: list[Tensor] = []
    for part in parts(range(len(prompts)), at_once):
        batch = pad([Tokens(prompts[n], ()) for n in part], tokenizer)
        places = Places.one_per_row(batch.prompt_last)
        with torch.no_grad(), catch(module, side, places) as states:
            model(**batch.inputs(model))
        found.append(states.last.float())
    return torch.cat(found)


def grades(
    model: nn.Module,
    tokenizer: Any,
    rows: Sequence[Tokens],
    at_once: int,
    attachment: Attachment | None = None,
) -> tuple[list[float], list[bool]]:
    """Return each row's loss and whether its target would be said, without gradients.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        rows: prompts and targets.
        at_once: rows of one forward.
        attachment: the adapter that is on, which is told where the prompts end.

    """
    telling = attachment if attachment is not None else Attachment()
    losses: list[float] = []
    said: list[bool] = []
    with torch.no_grad():
        for part in parts(range(len(rows)), at_once):
            batch = pad([rows[n] for n in part], tokenizer)
            with telling.prompts_end(batch.prompt_last):
                graded = grade(model, batch)
            losses += graded.losses.tolist()
            said += graded.learned.tolist()
    return losses, said
