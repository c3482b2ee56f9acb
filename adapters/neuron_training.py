"""Training neurons that make a model say its targets, and are silent everywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.grading import grade, parts
from memedit.adapters.learned import Progress
from memedit.adapters.neuron_memory import Seen
from memedit.adapters.neurons import Neurons, elsewhere, firing, joined
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.tokens import Tokens, pad

HEIGHT = 3.0
"""At the beginning, of a neuron at its own query, and as much under zero at the memory's mean."""
KEY_RATE = 0.1
"""Adam's step of keys and thresholds, as a share of their size."""
_LARGEST = 20.0  # exponent: what is higher costs no more


@dataclass(frozen=True, slots=True)
class NeuronConfig:
    """How neurons are trained."""

    steps: int = 100
    """At most."""
    rate: float = 0.3
    """Adam's step of values, as a share of the root mean square of what the MLP gives out there."""
    enough: float = 0.05
    """An edit is learned when its loss is under this, its target is what would be said, and its
    neurons are silent in the memory."""
    activation: float = 1.0
    """The weight of the loss that keeps neurons firing on their own query; the paper's a."""
    memory: float = 1.0
    """The weight of the losses that keep them silent in the memory; the paper's m."""
    silent: float = -3.0
    """The height to stay under in the memory; the paper's beta."""
    gap: float = -3.0
    """The height in the memory less that at the own query, to stay under; the paper's gamma."""
    top: int = 100
    """So many of the memory count, the highest; the paper's k."""
    rows: int = 64
    """Edits of one forward."""

    def __post_init__(self) -> None:
        above = min(self.steps, self.rate, self.enough, self.top, self.rows)
        if not (above > 0 and min(self.activation, self.memory) >= 0):
            raise InvalidInputError(
                f"steps {self.steps}, rate {self.rate}, enough {self.enough}, top {self.top}, "
                f"rows {self.rows}, activation {self.activation}, memory {self.memory}: expected "
                "numbers above 0, and weights of losses not under it"
            )


def train_neurons(
    model: nn.Module,
    tokenizer: Any,
    mlp: nn.Module,
    rows: Sequence[Tokens],
    seen: Sequence[Seen],
    memory: Tensor,
    beside: Neurons | None,
    config: NeuronConfig,
    progress: Progress,
) -> tuple[list[Neurons], int]:
    """Train a neuron for each target token of each row, all at once.

    A row's loss is ``l_e + a l_a + m (l_m1 + l_m2)``: the cross-entropy of its target; the mean
    over its neurons of ``exp(-h)``, h being the height at the own query; and the means over the
    highest of the memory of ``exp(h' - beta)`` and of ``exp(h' - h - gamma)``.

    Args:
        model: frozen and in eval mode.
        tokenizer: its tokenizer.
        mlp: beside which the neurons are.
        rows: prompts and targets, all different.
        seen: what was seen of each.
        memory: float32 [N, k], queries; a neuron's own does not count where it is among them.
        beside: neurons that are there already, and stay as they are.
        config: how to train.
        progress: called with (steps done, at most).

    Returns:
        For each row its neurons, and the steps taken.

    Raises:
        DivergedError: a loss was no number.

    """
    own, given = torch.cat([one.own for one in seen]), torch.cat([one.given for one in seen])
    sizes = given.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
    counts = torch.tensor([len(one.given) for one in seen], device=own.device)
    owners = torch.repeat_interleave(counts)
    other, middle = elsewhere(own, memory), memory.mean(0)
    towards = own - middle
    keys = towards * (2 * HEIGHT / towards.square().sum(1, keepdim=True).clamp(min=1e-12))
    key_sizes = keys.square().mean(1, keepdim=True).sqrt()
    shifts = [torch.zeros_like(one).requires_grad_(True) for one in (keys, sizes[:, 0], given)]
    key_shift, bias_shift, value_shift = shifts

    def made() -> Neurons:
        now = keys + key_shift * key_sizes
        # heights are of queries less their mean: what all have in common moves no threshold
        biases = bias_shift * HEIGHT - HEIGHT - now @ middle
        return Neurons(now, biases, value_shift * sizes / HEIGHT)

    optimizer = torch.optim.Adam(
        [
            {"params": [key_shift, bias_shift], "lr": KEY_RATE},
            {"params": [value_shift], "lr": config.rate},
        ]
    )
    active = torch.ones(len(rows), dtype=torch.bool, device=own.device)
    steps = 0
    for step in range(config.steps + 1):
        progress(step, config.steps)
        optimizer.zero_grad()
        apart, silent = _apart(made(), own, memory, other, config)
        per_row = own.new_zeros(len(rows)).index_add(0, owners, apart) / counts
        per_row[active].sum().backward()  # type: ignore[no-untyped-call]
        loud = torch.zeros_like(active).index_put((owners[~silent],), active.new_ones(()))
        for part in parts(active.nonzero()[:, 0].tolist(), config.rows):
            now = made() if beside is None else joined([beside, made()])
            with at_work(mlp, now):
                graded = grade(model, pad([rows[n] for n in part], tokenizer))
            losses = graded.losses
            if not bool(torch.isfinite(losses).all()):
                raise DivergedError(
                    f"the training of neurons diverged after {step} steps: a loss is no number; "
                    f"nothing was learned. Try a rate under {config.rate:.2g} or another layer"
                )
            known = graded.learned & (losses.detach() < config.enough)
            active[part] = ~(known.to(active.device) & ~loud[part])
            losses.sum().backward()  # type: ignore[no-untyped-call]
        if step == config.steps or not bool(active.any()):
            break
        before = [one.detach().clone() for one in shifts]
        optimizer.step()
        with torch.no_grad():  # Adam's momentum would move on those that are done
            for shift, old in zip(shifts, before, strict=True):
                going = active[owners].reshape(-1, *[1] * (shift.ndim - 1))
                shift.copy_(torch.where(going, shift, old))
        steps = step + 1
    progress(config.steps, config.steps)
    with torch.no_grad():
        done = made().quieted(own, memory).to(torch.device("cpu"))
    return done.split(counts.tolist()), steps


@contextmanager
def at_work(mlp: nn.Module, neurons: Neurons) -> Iterator[None]:
    """Have neurons fire beside an MLP for as long as the block lasts."""
    handle = mlp.register_forward_hook(firing(neurons), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _apart(
    made: Neurons, own: Tensor, memory: Tensor, other: Tensor, config: NeuronConfig
) -> tuple[Tensor, Tensor]:
    """Return each neuron's activation and memory losses, and whether it is silent in the memory."""
    heights = made.heights(memory).masked_fill(~other, -torch.inf)  # [N, n]
    at_own = (own * made.keys).sum(1) + made.biases
    top = heights.topk(min(config.top, len(heights)), dim=0).values

    def highest(exponents: Tensor) -> Tensor:
        return exponents.clamp(max=_LARGEST).exp().mean(0)

    stays = (-at_own).clamp(max=_LARGEST).exp()
    quiet = highest(top - config.silent) + highest(top - at_own - config.gap)
    return config.activation * stays + config.memory * quiet, top.detach()[0] < 0
