"""The gate of Language Patches: whether a prompt is one that a patch is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from memedit.adapters.learned import Progress
from memedit.errors import InvalidInputError

ALIKE = 0.98
"""The cosine at which a gate that was not trained is undecided: a distance of a fifth of the norm,
as ``RADIUS_SHARE`` is."""
CERTAIN = 4.0
"""The logit of such a gate on a patch's own prompt."""
WIDTH = 64
"""Numbers that a trained gate compares states by."""
STEPS = 600
"""Of a gate's training, unless it is said."""
RATE, BATCH = 3e-3, 64


@dataclass(frozen=True, slots=True)
class Gate:
    """``g = sigmoid(scale cos(P (h - m), P (h' - m)) + bias)`` for states of two prompts."""

    projection: Tensor
    """float32 [r, d]; of no rows: states are compared as they are."""
    mean: Tensor
    """float32 [d]"""
    line: Tensor
    """float32 [2]: scale and bias."""

    @classmethod
    def untrained(cls, width: int) -> Gate:
        """Return the gate that opens for what looks just like the patch's own prompt."""
        scale = CERTAIN / (1 - ALIKE)
        return cls(torch.zeros(0, width), torch.zeros(width), torch.tensor([scale, -scale * ALIKE]))

    def to(self, device: torch.device) -> Gate:
        """Return it on a device."""
        return Gate(*(getattr(self, name).to(device) for name in self.__slots__))

    def placed(self, states: Tensor) -> Tensor:
        """Return states [n, d] where they are compared: of norm 1."""
        moved = states.float() - self.mean
        if len(self.projection):
            moved = moved @ self.projection.T
        return functional.normalize(moved, dim=-1)

    def logits(self, states: Tensor, conditions: Tensor) -> Tensor:
        """Return for prompts' states [B, d] and patches' [P, d] how open the gate is: [B, P]."""
        alike = self.placed(states) @ self.placed(conditions).T
        return self.line[0] * alike + self.line[1]


def train_gate(
    conditions: Tensor,
    inside: Tensor,
    inside_of: Sequence[int],
    outside: Tensor,
    outside_of: Sequence[int],
    progress: Progress,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Gate:
    """Train a gate on prompts that patches are about, and on prompts that they are not.

    A batch has so many patches, for each a prompt that it is about, for each of those all other
    patches, which it is not about, and prompts out of the patches' scope that look like it.

    Args:
        conditions: float32 [P, d], states of the patches' own prompts.
        inside: float32 [n, d], of other wordings.
        inside_of: for each the number of its patch.
        outside: float32 [m, d], of prompts that a patch is not about.
        outside_of: for each the number of that patch.
        progress: called with (steps done, in all).
        steps: batches.
        seed: of what is drawn.

    Raises:
        InvalidInputError: there is no other wording, or no prompt out of scope.

    Source: Murty et al. 2022, section 3 (gating head, trained apart from the patches it is for).

    """
    if not len(inside) or not len(outside):
        raise InvalidInputError(
            f"a gate is trained on rephrases and on locality probes; got {len(inside)} and "
            f"{len(outside)}"
        )
    draw = torch.Generator().manual_seed(seed)
    mean = torch.cat([conditions, inside]).mean(0)
    spread = (conditions - mean).norm(dim=1).mean().clamp(min=1e-6)
    width = conditions.shape[1]
    projection = torch.randn(WIDTH, width, generator=draw) / (width**0.5 * spread)
    projection.requires_grad_(True)
    line = torch.tensor([10.0, -5.0], requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": [projection], "lr": RATE / float(spread)}, {"params": [line], "lr": 0.05}]
    )
    owners, strangers = torch.tensor(list(inside_of)), torch.tensor(list(outside_of))
    for step in range(steps):
        progress(step, steps)
        chosen = torch.randint(len(inside), (BATCH,), generator=draw)
        away = torch.randint(len(outside), (BATCH,), generator=draw)
        gate = Gate(projection, mean, line)
        asked = torch.cat([inside[chosen], conditions[owners[chosen]]])
        mine = torch.cat([owners[chosen], owners[chosen]])
        logits = gate.logits(asked, conditions[owners[chosen]])
        same = mine[:, None] == owners[chosen][None]
        losses = functional.binary_cross_entropy_with_logits(logits, same.float(), reduction="none")
        hard = (gate.placed(outside[away]) * gate.placed(conditions[strangers[away]])).sum(1)
        refused = functional.softplus(line[0] * hard + line[1])
        loss = losses[same].mean() + losses[~same].mean() + refused.mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    progress(steps, steps)
    return Gate(projection.detach(), mean, line.detach())
