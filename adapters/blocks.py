"""LoRA blocks side by side: each row of a batch goes through the block that was chosen for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.grading import grade, parts
from memedit.adapters.learned import (
    Progress,
)
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.architecture import Matrix
from memedit.modeling.delta import Change, LowRank
from memedit.modeling.tokens import Tokens, pad

RATE_SHARE = 0.02
"""What a step moves a product's entries by, as a share of the weights' size."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One matrix's blocks, E of them, all of one rank."""

    down: Tensor
    """float32 [E, r, in]"""
    up: Tensor
    """float32 [E, out, r]: scale included."""


Blocks = Mapping[str, Pair]
"""By the name of the matrix that they are added to."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How blocks are trained."""

    steps: int = 60
    """At most."""
    rate: float | None = None
    """Adam's learning rate; ``None``: what moves the product by ``RATE_SHARE`` of the weights."""
    enough: float = 0.05
    """An edit is learned when its loss is under this and its target is what would be said."""
    rows: int = 64
    """Edits of one forward."""
    seed: int = 0
    """Of the random half of the factors."""

    def __post_init__(self) -> None:
        rate = 1.0 if self.rate is None else self.rate
        if not min(self.steps, rate, self.enough, self.rows) > 0:
            raise InvalidInputError(
                f"steps {self.steps}, rate {self.rate}, enough {self.enough}, rows {self.rows}: "
                "expected numbers above 0"
            )


def default_rate(matrix: Matrix, rank: int) -> float:
    """Return a learning rate for a LoRA's factors that fits the size of a matrix's weights.

    With ``down`` as it is drawn, a step of ``up`` moves the product's entries by about
    rate · √(rank / 3 in).
    """
    weight = matrix.as_out_in()
    size = float(weight.detach().float().square().mean().sqrt())
    return RATE_SHARE * size * math.sqrt(3 * weight.shape[1] / rank)


def begun(matrices: Sequence[Matrix], count: int, rank: int, seed: int) -> dict[str, Pair]:
    """Draw ``count`` blocks that add nothing yet: ``down`` at random, ``up`` zero."""
    draw = torch.Generator().manual_seed(seed)
    made: dict[str, Pair] = {}
    for matrix in matrices:
        out, width = matrix.as_out_in().shape
        bound = 1 / math.sqrt(width)
        down = (torch.rand(count, rank, width, generator=draw) * 2 - 1) * bound
        device = matrix.weight.device
        made[matrix.name] = Pair(down.to(device), torch.zeros(count, out, rank, device=device))
    return made


@contextmanager
def applied(
    matrices: Sequence[Matrix], blocks: Blocks, choose: Callable[[], Tensor | None]
) -> Iterator[None]:
    """Add to what the matrices give out what each row's block makes of their input.

    Args:
        matrices: whose outputs are changed.
        blocks: of each of them.
        choose: called at every run; int64 [B], -1 for a row that stays bit for bit as it is, or
            ``None`` where all rows stay.

    """
    with ExitStack() as stack:
        for matrix in matrices:
            handle = matrix.module.register_forward_hook(_adding(blocks[matrix.name], choose))
            stack.callback(handle.remove)
        yield


def _adding(pair: Pair, choose: Callable[[], Tensor | None]) -> Any:
    def add(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        chosen = choose()
        if chosen is None:
            return out
        rows = chosen.to(out.device)
        taken: Tensor = args[0]
        states = taken.reshape(len(rows), -1, taken.shape[-1])  # OPT's is flat: [B * S, in]
        own = rows.clamp(min=0)
        down = pair.down[own].to(states.dtype)  # [B, r, in]
        up = pair.up[own].to(states.dtype)  # [B, out, r]
        change = states @ down.transpose(1, 2) @ up.transpose(1, 2)
        here = (rows >= 0)[:, None, None]
        shaped = out.reshape(change.shape)
        return torch.where(here, shaped + change, shaped).reshape(out.shape)

    return add


def train(
    model: nn.Module,
    tokenizer: Any,
    matrices: Sequence[Matrix],
    rows: Sequence[Tokens],
    block_of: Sequence[int],
    rank: int,
    config: TrainingConfig,
    progress: Progress,
) -> tuple[dict[str, Pair], list[float], int]:
    """Train new blocks, all at once; each learns its own rows and stops when it knows them.

    Args:
        model: frozen and in eval mode.
        tokenizer: its tokenizer.
        matrices: what the blocks are added to.
        rows: prompts and targets.
        block_of: for each row its block, from 0 without gaps.
        rank: of every block.
        config: how to train.
        progress: called with (steps done, at most).

    Returns:
        The blocks, each row's loss before, and the steps taken.

    Raises:
        DivergedError: a loss was no number.

    """
    owners = torch.tensor(list(block_of))
    count = int(owners.max()) + 1
    blocks = begun(matrices, count, rank, config.seed)
    factors = [
        {"params": [t.requires_grad_(True) for t in (pair.down, pair.up)], "lr": rate}
        for matrix in matrices
        for pair, rate in [(blocks[matrix.name], config.rate or default_rate(matrix, rank))]
    ]
    optimizer = torch.optim.Adam(factors)
    shares = torch.bincount(owners, minlength=count)
    known = torch.zeros(len(rows), dtype=torch.bool)
    first = torch.full((len(rows),), math.nan)
    active = torch.ones(count, dtype=torch.bool)
    steps = 0
    for step in range(config.steps + 1):
        progress(step, config.steps)
        optimizer.zero_grad()
        for part in parts(active[owners].nonzero()[:, 0].tolist(), config.rows):
            batch = pad([rows[n] for n in part], tokenizer)
            chosen = owners[part]
            with applied(matrices, blocks, lambda chosen=chosen: chosen):  # type: ignore[misc]
                graded = grade(model, batch)
            losses = graded.losses.detach().cpu()
            if not bool(torch.isfinite(losses).all()):
                raise DivergedError(
                    f"the training of LoRA blocks diverged after {step} steps: a loss is no "
                    "number; nothing was learned. Try a smaller rate or other layers"
                )
            if step == 0:
                first[part] = losses
            known[part] = graded.learned.cpu() & (losses < config.enough)
            weights = 1 / shares[chosen]  # a block's loss is the mean of its rows'
            (graded.losses * weights.to(graded.losses.device)).sum().backward()  # type: ignore[no-untyped-call]
        active = torch.zeros_like(active).index_put((owners[~known],), torch.tensor(True))
        if step == config.steps or not bool(active.any()):
            break
        _step(optimizer, active)
        steps = step + 1
    progress(config.steps, config.steps)
    done = {
        name: Pair(pair.down.detach().cpu(), pair.up.detach().cpu())
        for name, pair in blocks.items()
    }
    return done, first.tolist(), steps


def joined(old: Blocks, new: Blocks) -> dict[str, Pair]:
    """Put new blocks behind old ones; their numbers go on."""
    if not old:
        return dict(new)
    return {
        name: Pair(torch.cat([old[name].down, pair.down]), torch.cat([old[name].up, pair.up]))
        for name, pair in new.items()
    }


def kept(blocks: Blocks, numbers: Sequence[int]) -> dict[str, Pair]:
    """Return only the blocks of these numbers, in this order."""
    chosen = list(numbers)
    return {name: Pair(pair.down[chosen], pair.up[chosen]) for name, pair in blocks.items()}


def changes(matrices: Sequence[Matrix], blocks: Blocks, number: int) -> dict[str, Change]:
    """Return one block as changes of weights, in the layout of each parameter."""
    made: dict[str, Change] = {}
    for matrix in matrices:
        down, up = blocks[matrix.name].down[number], blocks[matrix.name].up[number]
        made[matrix.name] = LowRank(down.T, up.T) if matrix.transposed else LowRank(up, down)
    return made


def _step(optimizer: torch.optim.Optimizer, active: Tensor) -> None:
    """Take one step for the blocks that need one."""
    tensors: list[Tensor] = [t for group in optimizer.param_groups for t in group["params"]]
    before = [tensor.detach().clone() for tensor in tensors]
    optimizer.step()
    with torch.no_grad():
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(torch.where(active.to(tensor.device)[:, None, None], tensor, old))
