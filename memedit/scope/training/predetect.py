"""Trains PokeMQA's pre-detector on vectors that were encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from memedit.scope.base import Vectors
from memedit.scope.predetector import Predetector
from memedit.scope.training.scope_data import Known


@dataclass(frozen=True, slots=True)
class NearRecipe:
    """How to train the pre-detector."""

    steps: int = 300
    batch: int = 384
    """Questions; each with its own edit, and with those of all others of the batch."""
    rate: float = 2e-3
    decay: float = 1e-2
    width: int = 256
    """Rows of each projection."""
    scale: float = 1.5
    """Of the projection that training starts from."""
    seed: int = 7


def train_predetector(
    known: Sequence[Known], vectors: dict[str, Vectors], recipe: NearRecipe | None = None
) -> Predetector:
    """Learn both projections: -log p of each question's edit, -log (1 - p) of the others.

    The paper draws 20 negatives for each question, uniformly; the mean over all others of the batch
    is what those estimate.  Questions of edits that share one are no negatives of each other.

    Args:
        known: the edits.
        vectors: of every question and edit, ``[dim]`` each.
        recipe: how.

    """
    recipe = recipe or NearRecipe()
    rows = [(question, one) for one in known for question in one.questions]
    asked = torch.from_numpy(np.stack([vectors[question] for question, _ in rows]))
    told = torch.from_numpy(np.stack([vectors[one.edit] for _, one in rows]))
    group = torch.tensor([one.group for _, one in rows])
    draw = torch.Generator().manual_seed(recipe.seed)
    start = torch.empty(min(recipe.width, asked.shape[1]), asked.shape[1])
    nn.init.orthogonal_(start, gain=recipe.scale, generator=draw)
    questions, edits = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    shift = nn.Parameter(torch.zeros(len(start)))
    parameters = [questions, edits, shift]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    for step in range(recipe.steps):
        chosen = torch.randint(len(rows), (min(recipe.batch, len(rows)),), generator=draw)
        left = asked[chosen] @ questions.T + shift
        right = told[chosen] @ edits.T
        apart = (
            left.square().sum(1)[:, None] + right.square().sum(1)[None] - 2 * left @ right.T
        ).clamp(min=1e-4)  # [questions, edits]
        other = group[chosen][:, None] != group[chosen][None]
        near = apart.diagonal().mean()
        far = -torch.log(-torch.expm1(-apart[other])).mean() if other.any() else near.new_zeros(())
        for one in optimizer.param_groups:
            one["lr"] = recipe.rate * (1 - step / recipe.steps)
        optimizer.zero_grad()
        (near + far).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    arrays = (one.detach().numpy().astype(np.float32) for one in parameters)
    return Predetector(*arrays)
