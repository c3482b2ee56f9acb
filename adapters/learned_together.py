"""What methods share whose edits share their parameters: one training, and none taken out alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from memedit.adapters.base import Adapter
from memedit.adapters.blocks import TrainingConfig
from memedit.adapters.grading import grade, parts
from memedit.adapters.learned import Progress
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.frozen import left_as_found
from memedit.modeling.tokens import Tokens, pad


def train_together(
    method: str,
    model: nn.Module,
    tokenizer: Any,
    rows: Sequence[Tokens],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    progress: Progress,
) -> int:
    """Take passes over the edits until all are learned; returns the optimiser's steps.

    Args:
        method: its name, for errors.
        model: frozen and in eval mode, with what is trained at work on it.
        tokenizer: its tokenizer.
        rows: prompts and targets.
        optimizer: of what is trained.
        config: how to train.
        progress: called with (passes done, at most).

    Raises:
        DivergedError: a loss was no number.

    """
    steps = 0
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            tensor.requires_grad_(True)
    for done in range(config.steps):
        progress(done, config.steps)
        all_known = True
        for part in parts(range(len(rows)), config.rows):
            graded = grade(model, pad([rows[n] for n in part], tokenizer))
            loss = graded.losses.mean()
            if not bool(torch.isfinite(loss)):
                raise DivergedError(
                    f"{method} diverged after {steps} steps: a loss is no number; nothing was "
                    "learned. Try a smaller rate"
                )
            if bool((graded.learned & (graded.losses < config.enough)).all()):
                continue
            all_known = False
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
        if all_known:
            break
    progress(config.steps, config.steps)
    return steps


def learn_rest_anew(
    adapter: Adapter[Any], edit_id: str, model: nn.Module | None, tokenizer: Any
) -> None:
    """Have an adapter, emptied of what it learned, learn the edits it still lists again.

    Args:
        adapter: the copy that ``Adapter.delete`` works on.
        edit_id: the edit that goes; for the error.
        model: the model it is for.
        tokenizer: its tokenizer.

    Raises:
        InvalidInputError: there are such edits, and no model.

    """
    rest = adapter.held
    if not rest:
        return
    if model is None or tokenizer is None:
        raise InvalidInputError(
            f"the edits of {adapter.name} share what it learned: to take {edit_id!r} out, the "
            f"other {len(rest)} are learned again; give the model and its tokenizer"
        )
    adapter.held = ()
    with left_as_found(model):
        done = adapter._learn(model, tokenizer, rest, (), lambda done, total: None)
    adapter.held = tuple(replace(one, said=said) for one, said in zip(rest, done.said, strict=True))


def take_out(
    adapter: Adapter[Any],
    edit_ids: Sequence[str],
    model: nn.Module | None = None,
    tokenizer: Any = None,
) -> None:
    """Take several edits out of an adapter, as ``delete`` does; the others learn again only once.

    Args:
        adapter: on an error it stays as it was.
        edit_ids: of edits that are held, each once, at least one.
        model: the model it is for, where the method is ``together``.
        tokenizer: its tokenizer.

    Raises:
        NotFoundError: such an edit is not held.
        InvalidInputError: the method needs the model.

    """
    for edit_id in edit_ids:
        adapter.check_held(edit_id)
    fresh = copy.copy(adapter)
    *first, last = edit_ids
    if adapter.together:  # what they share goes with the last one, for all
        fresh.held = tuple(one for one in adapter.held if one.edit.id not in first)
    else:
        for edit_id in first:
            fresh.delete(edit_id)
    fresh.delete(last, model, tokenizer)
    adapter.__dict__.update(fresh.__dict__)
