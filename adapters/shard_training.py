"""Training WISE's shards: each in its own random subspace, active on its own prompt alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from memedit.adapters.grading import grade, parts
from memedit.adapters.learned import Progress
from memedit.adapters.side_memories import beside
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.architecture import Matrix
from memedit.modeling.tokens import Tokens, pad

KEPT = 0.1
"""Margins that are kept so nearly are kept: steps of a fixed length come no nearer."""


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """How shards are trained; activations count in those of the value matrix at the edit's key."""

    steps: int = 70
    """At most."""
    rate: float = 0.3
    """What a step moves the value matrix's output at the edit's key by, as a share of it."""
    enough: float = 0.05
    """An edit is learned when its loss is under this, its target is what would be said, and the
    margins are kept."""
    outside: float = 0.25
    """The activation to stay under on other prompts; the paper's alpha."""
    inside: float = 1.0
    """The activation to stay over on the edit's own prompt; the paper's beta."""
    margin: float = 0.5
    """By how much the own prompt's is to be above those of others; the paper's gamma."""
    hardest: int = 64
    """So many other prompts count for each edit, those that look most like its own."""
    rows: int = 16
    """Edits of one forward: each has a whole matrix while it is trained."""

    def __post_init__(self) -> None:
        above = min(self.steps, self.rate, self.enough, self.inside, self.hardest, self.rows)
        if not (above > 0 and min(self.outside, self.margin) >= 0):
            raise InvalidInputError(
                f"steps {self.steps}, rate {self.rate}, enough {self.enough}, inside "
                f"{self.inside}, hardest {self.hardest}, rows {self.rows}, outside {self.outside}, "
                f"margin {self.margin}: expected numbers above 0, and outside and margin not under"
            )


def hardest(key: Tensor, others: Tensor, count: int) -> Tensor:
    """Return those of others [N, k] that look most like a key [k], but are not the same prompt's.

    Returns:
        float32 [count, k], filled up with zeros, on which nothing is active.

    """
    alike = torch.cosine_similarity(others, key[None], dim=1)
    taken = others[alike.topk(min(count, len(others))).indices]
    return torch.cat([taken, key.new_zeros(count - len(taken), len(key))])


def train_shards(
    model: nn.Module,
    tokenizer: object,
    matrix: Matrix,
    rows: Sequence[Tokens],
    keys: Tensor,
    others: Tensor,
    masks: Sequence[Tensor],
    config: ShardConfig,
    progress: Progress,
) -> tuple[list[Tensor], int]:
    """Train a shard for each row; those of one forward together, and none sees another.

    A row's loss is that of its target with its shard beside the value matrix, for the whole row,
    and ``max(0, A(x') - alpha) + max(0, beta - A(x)) + max(0, gamma - A(x) + A(x'))``, A being the
    activation: the norm of what the shard makes of what the value matrix takes in.  A step goes
    down the gradient, masked, by a fixed length: the values that a step of Adam's kind would move
    are all of the mask's, and so is what is active then.

    Args:
        model: frozen and in eval mode.
        tokenizer: its tokenizer.
        matrix: the value matrix.
        rows: prompts and targets.
        keys: float32 [B, k], what the matrix takes in at each one's last prompt token.
        others: float32 [B, n, k], the same of prompts that the row's shard is to leave alone.
        masks: for each row the places of its shard: bool [k, d].
        config: how to train.
        progress: called with (steps done, at most).

    Returns:
        For each row the values of its shard in the order of the mask's places, on the CPU, and
        the steps of the one that needed most.

    Raises:
        DivergedError: a loss was no number.

    Source: Wang et al. 2024, eq. 5 (margins) and eq. 7 (masked gradients).

    """
    found: list[Tensor] = []
    most = 0
    for done, part in enumerate(parts(range(len(rows)), config.rows)):
        places = torch.stack([masks[n] for n in part]).to(keys.device)
        first = done * config.rows
        changes, steps = _train(
            model, tokenizer, matrix, rows[first : first + len(part)], keys[part], others[part],
            places, config, progress,
        )  # fmt: skip
        found += [changes[n][places[n]].cpu() for n in range(len(part))]
        most = max(most, steps)
    progress(config.steps, config.steps)
    return found, most


def _train(
    model: nn.Module,
    tokenizer: object,
    matrix: Matrix,
    rows: Sequence[Tokens],
    keys: Tensor,
    others: Tensor,
    places: Tensor,
    config: ShardConfig,
    progress: Progress,
) -> tuple[Tensor, int]:
    """Train the shards of one forward: float32 [B, k, d]."""
    weight = matrix.as_out_in().detach().float()
    sizes = (keys @ weight.T).norm(dim=1).clamp(min=1e-6)
    density = places.float().mean((1, 2)).clamp(min=1e-6).sqrt()
    lengths = config.rate * sizes / (keys.norm(dim=1).clamp(min=1e-6) * density)
    changes = torch.zeros(places.shape, device=keys.device).requires_grad_(True)
    active = torch.ones(len(rows), dtype=torch.bool, device=keys.device)
    batch, everyone = pad(rows, tokenizer), torch.arange(len(rows))
    for step in range(config.steps + 1):
        progress(step, config.steps)
        with beside(matrix, changes, lambda: everyone):
            graded = grade(model, batch)
        losses = graded.losses.to(keys.device)
        if not bool(torch.isfinite(losses).all()):
            raise DivergedError(
                f"the training of shards diverged after {step} steps: a loss is no number; "
                f"nothing was learned. Try a rate under {config.rate:.2g} or another layer"
            )
        own = torch.bmm(keys[:, None], changes)[:, 0].norm(dim=1) / sizes
        away = torch.bmm(others, changes).square().sum(2).add(1e-24).sqrt() / sizes[:, None]
        apart = (
            (away - config.outside).relu().amax(1)
            + (config.inside - own).relu()
            + (config.margin - own + away.amax(1)).relu()
        )
        known = graded.learned.to(keys.device) & (losses < config.enough) & (apart < KEPT)
        active &= ~known
        if step == config.steps or not bool(active.any()):
            break
        (whole,) = torch.autograd.grad((losses + apart)[active].sum(), changes)
        with torch.no_grad():
            gradient = torch.where(places, whole, 0)
            norms = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
            moved = torch.where(active, lengths / norms, 0)
            changes -= moved[:, None, None] * gradient
    return changes.detach(), step
