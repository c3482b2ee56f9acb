"""The most changed value vectors, read through the unembedding.

Source: survey, section 5.1, "Mapping to Embedding Space", after Dar et al. 2023: the five columns
of the value matrix with the largest change are mapped to the vocabulary before and after the edit,
and the new knowledge is looked for among the 10 and the 50 highest logits.

As there, a column is multiplied with the unembedding as it is: the final norm is left out. Where
the survey is silent: a hit is counted per token of the target (share of its distinct tokens), in
any of the five columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memedit.errors import InvalidInputError
from memedit.evaluation.analysis.change import column_strengths
from memedit.evaluation.analysis.record import Column, Mapped

TOP = 5
SHOWN = 8
"""Tokens shown per column."""


def mapped(
    change: Tensor,
    weight: Tensor,
    unembedding: Tensor,
    target_ids: Sequence[int],
    tokenizer: Any,
    *,
    method: str,
    case: str,
    parameter: str,
    target: str,
    top: int = TOP,
) -> Mapped:
    """Map the most changed columns to the vocabulary, before and after.

    Args:
        change: ΔW as (d_model, d_ff): its columns are value vectors.
        weight: the unedited weight, same shape.
        unembedding: [vocabulary, d_model].
        target_ids: the tokens of the new answer.
        tokenizer: names the tokens.
        method: the editing method's name.
        case: the edited case.
        parameter: the parameter's name.
        target: the new answer.
        top: how many columns.

    Raises:
        InvalidInputError: shapes that do not fit, or a target without tokens.

    """
    if change.shape != weight.shape or change.ndim != 2 or len(change) != unembedding.shape[1]:
        raise InvalidInputError(
            f"a change of shape {tuple(change.shape)} of a weight {tuple(weight.shape)} cannot be "
            f"mapped by an unembedding {tuple(unembedding.shape)}; expected (d_model, d_ff) twice "
            "and (vocabulary, d_model)"
        )
    wanted = list(dict.fromkeys(int(number) for number in target_ids))
    if not wanted:
        raise InvalidInputError(f"the target {target!r} has no tokens to look for")
    strengths = column_strengths(change)
    chosen = torch.topk(strengths, min(top, len(strengths))).indices
    old = weight.detach().float()[:, chosen]
    new = old + change.detach().float()[:, chosen]
    before, after = (_logits(unembedding, vectors) for vectors in (old, new))
    total = float(strengths.sum()) or 1.0
    return Mapped(
        method=method,
        case=case,
        parameter=parameter,
        target=target,
        tokens=tuple(_token(tokenizer, number) for number in wanted),
        vocabulary=len(unembedding),
        columns=tuple(
            Column(
                index=int(index),
                share=float(strengths[index]) / total,
                before=_highest(before[:, place], tokenizer),
                after=_highest(after[:, place], tokenizer),
            )
            for place, index in enumerate(chosen)
        ),
        before=best_ranks(before, wanted),
        after=best_ranks(after, wanted),
        before_reversed=best_ranks(-before, wanted),
        after_reversed=best_ranks(-after, wanted),
    )


def best_ranks(logits: Tensor, wanted: Sequence[int]) -> tuple[int, ...]:
    """Return each token's best rank over the columns, from 1; a tie counts against it.

    Args:
        logits: [vocabulary, columns].
        wanted: token ids.

    """
    own = logits[list(wanted)]  # [tokens, columns]
    # Whoever is at least as high stands before it: a constant column hits nothing.
    ranks = (logits[None] >= own[:, None]).sum(1)
    return tuple(int(rank) for rank in ranks.min(1).values)


def _logits(unembedding: Tensor, vectors: Tensor) -> Tensor:
    """Return [vocabulary, top] in float32, without a float32 copy of the whole unembedding."""
    parts = unembedding.detach().split(16_384)  # type: ignore[no-untyped-call]
    return torch.cat([part.float() @ vectors.to(part.device) for part in parts])


def _highest(logits: Tensor, tokenizer: Any) -> tuple[str, ...]:
    found = torch.topk(logits, min(SHOWN, len(logits))).indices
    return tuple(_token(tokenizer, int(number)) for number in found)


def _token(tokenizer: Any, number: int) -> str:
    return str(tokenizer.decode([number]))
