"""Which value makes the model say the target: one optimisation over all edits of a batch.

The edits share the forward passes and nothing else: losses, steps and stops are their own, so that
a batch finds what its edits would find alone.

A descent may end in a hollow that no step leads out of, where another start finds the target:
edits whose target would not be said can begin again, from the opposite of their start, and then
from further and further around it, by noise that is the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.grading import grade, parts
from memedit.adapters.learned import (
    Progress,
)
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.tokens import Batch, Tokens, pad

FAR = 3.0
"""How much further around it a new start is, in root mean squares of the value that was there."""

Put = Callable[[Sequence[int], Batch, Tensor], AbstractContextManager[None]]
"""Called with the numbers of some rows, these rows in a batch, and their values [b, ...]."""


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How values are searched."""

    steps: int = 100
    """At most."""
    rate: float = 0.3
    """Adam's step, as a share of the root mean square of the value that was there."""
    enough: float = 0.05
    """An edit is done when its target's loss is under this and the target is what would be said."""
    rows: int = 64
    """Edits of one forward."""
    restarts: int = 0
    """How often an edit whose target would still not be said begins again, from another start."""

    def __post_init__(self) -> None:
        if not min(self.steps, self.rate, self.enough, self.rows) > 0:
            raise InvalidInputError(
                f"steps {self.steps}, rate {self.rate}, enough {self.enough}, rows {self.rows}: "
                "expected numbers above 0"
            )
        if self.restarts < 0:
            raise InvalidInputError(f"restarts {self.restarts}: expected 0 or more")


@dataclass(frozen=True, slots=True)
class Found:
    """Values of B edits."""

    values: Tensor
    """float32 [B, ...], on the CPU."""
    before: tuple[float, ...]
    """Losses with the values that it began from."""
    steps: int
    """Of the edit that needed most, all its beginnings together."""


def search_values(
    model: nn.Module,
    tokenizer: Any,
    rows: Sequence[Tokens],
    starts: Tensor,
    put: Put,
    config: SearchConfig,
    progress: Progress,
    sizes: Tensor | None = None,
) -> Found:
    """Optimise what is put into the model for each row.

    Args:
        model: frozen and in eval mode.
        tokenizer: its tokenizer.
        rows: for each edit its prompt and its target.
        starts: float32 [B, ...], the values to begin from; on the model's device.
        put: has values at work in the model.
        config: how to search.
        progress: called with (steps done, at most).
        sizes: float32 [B], what the rate is a share of; left out, of the starts' entries the root
            mean square.

    Raises:
        DivergedError: a loss was no number.

    """
    each = (-1, *[1] * (starts.ndim - 1))
    if sizes is None:
        sizes = starts.flatten(1).square().mean(1).sqrt()
    scale = sizes.clamp(min=1e-6).reshape(each)
    runs = config.restarts + 1
    best = _descend(
        model,
        tokenizer,
        rows,
        starts,
        scale,
        put,
        config,
        lambda n: progress(n, config.steps * runs),
    )
    first, steps = best.before, best.steps
    for run in range(1, runs):
        left = (~best.said).nonzero()[:, 0].tolist()
        if not left:
            break
        noise = torch.randn(starts.shape[1:], generator=torch.Generator().manual_seed(run))
        moved = FAR * (run - 1) * scale[left] * noise.to(starts) - starts[left]

        def put_those(part: Sequence[int], batch: Batch, values: Tensor, left: Any = left) -> Any:
            return put([left[n] for n in part], batch, values)

        def tell(step: int, run: int = run) -> None:
            progress(run * config.steps + step, config.steps * runs)

        again = _descend(
            model, tokenizer, [rows[n] for n in left], moved, scale[left], put_those, config, tell
        )
        best.take(left, again)
        steps += again.steps
    progress(config.steps * runs, config.steps * runs)
    return Found(best.values.cpu(), tuple(first.tolist()), steps)


@dataclass(slots=True)
class _Descent:
    """Where one descent of B edits ended."""

    values: Tensor
    """float32 [B, ...]."""
    before: Tensor
    """float32 [B], losses at the start."""
    losses: Tensor
    """float32 [B], losses at the end."""
    said: Tensor
    """bool [B], whether the target would be said."""
    steps: int

    def take(self, places: Sequence[int], other: _Descent) -> None:
        """Take over from another descent of these rows what is better there."""
        at = torch.as_tensor(places)
        better = (other.said & ~self.said[at]) | (
            (other.said == self.said[at]) & (other.losses < self.losses[at])
        )
        won = at[better]
        self.values[won.to(self.values.device)] = other.values[better.to(other.values.device)]
        self.losses[won], self.said[won] = other.losses[better], other.said[better]


def _descend(
    model: nn.Module,
    tokenizer: Any,
    rows: Sequence[Tokens],
    starts: Tensor,
    scale: Tensor,
    put: Put,
    config: SearchConfig,
    progress: Callable[[int], None],
) -> _Descent:
    """Go down from these starts; what is done stands still."""
    shift = torch.zeros_like(starts).requires_grad_(True)
    optimizer = torch.optim.Adam([shift], lr=config.rate)
    each = (-1, *[1] * (starts.ndim - 1))
    active = torch.ones(len(rows), dtype=torch.bool)
    said = torch.zeros(len(rows), dtype=torch.bool)
    first = torch.full((len(rows),), math.nan)
    last = first.clone()
    steps = 0
    for step in range(config.steps + 1):
        progress(step)
        optimizer.zero_grad()
        for part in parts(active.nonzero()[:, 0].tolist(), config.rows):
            batch = pad([rows[n] for n in part], tokenizer)
            values = starts[part] + shift[part] * scale[part]
            with put(part, batch, values):
                graded = grade(model, batch)
            losses = graded.losses.detach().cpu()
            if not bool(torch.isfinite(losses).all()):
                raise DivergedError(
                    f"the search for values diverged after {step} steps: a loss is no number; "
                    f"nothing was learned. Try a rate under {config.rate:.2g} or another layer"
                )
            if step == 0:
                first[part] = losses
            last[part], said[part] = losses, graded.learned.cpu()
            active[part] = ~(said[part] & (losses < config.enough))
            graded.losses.sum().backward()  # type: ignore[no-untyped-call]
        if step == config.steps or not bool(active.any()):
            break
        before = shift.detach().clone()
        optimizer.step()
        with torch.no_grad():  # Adam's momentum would move on those that are done
            shift.copy_(torch.where(active.to(shift.device).reshape(each), shift, before))
        steps = step + 1
    return _Descent(starts + shift.detach() * scale, first, last, said, steps)
