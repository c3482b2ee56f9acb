"""Which value makes the model say the target: one optimisation over all edits of a batch.

A vector δ is added to what a module gives out at the subject's last token, in every context of an
edit at once, and is optimised until the target follows.  The edits of a batch share the forward
passes and nothing else: their losses, their step sizes and their stops are their own, so a batch
finds what its edits would find alone.

Source: Meng et al. 2022 (ROME), equation 4; Meng et al. 2023 (MEMIT), equation 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.editing.base import Progress
from memedit.editing.rows import Padded, Row, padded
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.hooks import Caught, add, catch
from memedit.modeling.losses import target_losses

FALL = 0.1
"""Share of its rate that the last step has: long steps find the way, short ones the place."""

MEMORY = (0.8, 0.99)
"""Adam's: a search takes tens of steps, and the long gradients of the first ones are to be
forgotten in that time."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One more term of the loss, made of a module's output."""

    module: nn.Module
    term: Callable[[Tensor, Padded, int], Tensor]
    """(output [R, S, d] with its graph, the rows, how many of them have targets) -> a number."""


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How values are searched."""

    steps: int = 40
    """At most."""
    rate: float = 0.15
    """Adam's first step, as a share of the limit's root mean square; the last is ``FALL`` of it."""
    clamp: float = 4.0
    """‖δ‖ is at most so many times ‖v₀‖, the value that was there."""
    kl: float = 0.0625
    """Weight of the divergence at "{subject} is a": what the subject is stays as it was."""
    decay: float = 1e-3
    """Weight of (‖δ‖ / ‖v₀‖)²."""
    enough: float = 0.05
    """An edit is done when the target's loss, mean over its contexts, is under this."""
    rows: int = 256
    """Rows of one forward."""

    def __post_init__(self) -> None:
        numbers = (self.steps, self.rate, self.clamp, self.enough, self.rows)
        if not (min(numbers) > 0 and self.kl >= 0 and self.decay >= 0):
            raise InvalidInputError(
                f"steps {self.steps}, rate {self.rate}, clamp {self.clamp}, enough {self.enough}, "
                f"rows {self.rows}, kl {self.kl}, decay {self.decay}: expected numbers above 0"
            )


@dataclass(frozen=True, slots=True)
class Values:
    """What was found, for B edits."""

    starts: tuple[Tensor, ...]
    """For each module float32 [B, d]: what it gives out at the prompts alone."""
    deltas: tuple[Tensor, ...]
    """For each module float32 [B, d]: what to add to its output."""
    losses_before: Tensor
    """float32 [B]: of the target, mean over contexts, with nothing added."""
    losses: Tensor
    """float32 [B]: with δ added."""
    steps: int
    """Optimisation steps, of the edit that needed most."""

    @property
    def wanted(self) -> Tensor:
        """What the first module is to give out: float64 [B, d], on the CPU."""
        return self.starts[0].double().cpu() + self.deltas[0].double().cpu()


class Search:
    """The search for one batch of edits; the model is frozen and in eval mode.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        modules: whose outputs are shifted, each by a δ of its own.
        written: rows with targets, for every edit at least the one without a context, first.
        essences: for every edit one row without a target, or none where ``kl`` is 0.
        config: how to search.
        extra: one more term of the loss.

    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        modules: Sequence[nn.Module],
        written: Sequence[Sequence[Row]],
        essences: Sequence[Row],
        config: SearchConfig,
        extra: Extra | None = None,
    ) -> None:
        self.model, self.tokenizer, self.modules = model, tokenizer, tuple(modules)
        self.written, self.essences, self.config = written, essences, config
        self.extra = extra
        self.device = next(model.parameters()).device

    def run(self, progress: Progress) -> Values:
        """Optimise.

        Raises:
            DivergedError: a loss was no number.

        """
        config, n = self.config, len(self.written)
        starts, essence = self._before()
        scale = [config.clamp * v.norm(dim=1, keepdim=True) / math.sqrt(v.shape[1]) for v in starts]
        units = [torch.zeros_like(v).requires_grad_(True) for v in starts]
        optimizer = torch.optim.Adam(units, lr=config.rate, betas=MEMORY)
        active = torch.ones(n, dtype=torch.bool)
        first = torch.full((n,), math.nan)
        last = torch.full((n,), math.nan)
        objective = torch.full((n,), math.nan)
        # Adam does not go down alone: what is kept of an edit is the best that it came by.
        best, losses = torch.full((n,), math.inf), torch.full((n,), math.nan)
        kept = [unit.detach().clone() for unit in units]
        steps = 0
        for step in range(config.steps + 1):
            progress(step, config.steps)
            optimizer.zero_grad()
            for part in self._parts(active.nonzero()[:, 0].tolist()):
                nll, penalty = self._losses(part, units, scale, essence)
                last[part] = nll.detach().cpu()
                objective[part] = (nll + penalty).detach().cpu()
                if step < config.steps:
                    (nll + penalty).sum().backward()  # type: ignore[no-untyped-call]
            if step == 0:
                first.copy_(last)
            if not bool(torch.isfinite(last).all()):
                raise DivergedError(
                    f"the search for values diverged after {step} steps: a loss is no number; "
                    "nothing was changed. Try a smaller rate or clamp"
                )
            better = active & ((objective < best) | (last < config.enough))
            best, losses = torch.where(better, objective, best), torch.where(better, last, losses)
            for own, unit in zip(kept, units, strict=True):
                own.copy_(torch.where(better.to(self.device)[:, None], unit.detach(), own))
            active &= last >= config.enough
            if step == config.steps or not bool(active.any()):
                break
            for group in optimizer.param_groups:
                group["lr"] = config.rate * (1 - (1 - FALL) * step / config.steps)
            self._step(optimizer, units, active)
            steps = step + 1
        progress(config.steps, config.steps)
        deltas = tuple(unit * size for unit, size in zip(kept, scale, strict=True))
        return Values(tuple(starts), deltas, first, losses, steps)

    def _step(self, optimizer: torch.optim.Optimizer, units: list[Tensor], active: Tensor) -> None:
        """Take one step for the edits that need one, and put δ back into its ball."""
        moving = active.to(self.device)[:, None]
        before = [u.detach().clone() for u in units]
        optimizer.step()
        with torch.no_grad():
            for unit, old in zip(units, before, strict=True):
                size = unit.norm(dim=1, keepdim=True).clamp(min=1e-12)
                unit.mul_((math.sqrt(unit.shape[1]) / size).clamp(max=1.0))
                unit.copy_(torch.where(moving, unit, old))

    def _parts(self, edits: list[int]) -> list[list[int]]:
        """Cut edits into batches of at most ``rows`` rows; an edit's rows stay together.

        Edits of like length share a batch: padding costs what tokens cost.
        """
        edits = sorted(edits, key=lambda n: max(len(r.tokens.prompt) for r in self.written[n]))
        per = max(len(self.written[n]) for n in edits) + bool(self.essences) if edits else 1
        size = max(1, self.config.rows // per)
        return [sorted(edits[i : i + size]) for i in range(0, len(edits), size)]

    def _rows(self, part: list[int]) -> tuple[Padded, int]:
        """Return the rows of some edits, targets first; and how many have targets."""
        targets = [row for n in part for row in self.written[n]]
        rows = targets + [self.essences[n] for n in part if self.essences]
        return padded(rows, self.tokenizer), len(targets)

    def _before(self) -> tuple[list[Tensor], Tensor | None]:
        """Return what the modules give out at the bare prompts, and the essences' predictions."""
        starts: list[list[Tensor]] = [[] for _ in self.modules]
        essence: list[Tensor] = []
        parts = self._parts(list(range(len(self.written))))
        for part in parts:
            rows, count = self._rows(part)
            with ExitStack() as stack, torch.no_grad():
                caught = [
                    stack.enter_context(catch(m, "output", rows.subjects)) for m in self.modules
                ]
                logits = self._logits(rows)
            bare = torch.tensor([0, *(len(self.written[n]) for n in part[:-1])]).cumsum(0)
            for found, states in zip(starts, caught, strict=True):
                found.append(states.last[bare.to(states.last.device)].float())
            if self.essences:
                essence.append(self._predictions(logits, rows, count))
        order = torch.tensor([n for part in parts for n in part]).argsort().to(self.device)
        sorted_starts = [torch.cat(found)[order] for found in starts]
        return sorted_starts, torch.cat(essence)[order] if essence else None

    def _losses(
        self, part: list[int], units: list[Tensor], scale: list[Tensor], essence: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return each edit's target loss and what else is weighed: two tensors [len(part)]."""
        config = self.config
        rows, count = self._rows(part)
        chosen = torch.tensor(part, device=self.device)
        owners = rows.edits.to(self.device)
        with ExitStack() as stack:
            for module, unit, size in zip(self.modules, units, scale, strict=True):
                shift = (unit * size)[owners]
                stack.enter_context(add(module, "output", rows.subjects, shift))
            seen: Caught | None = None
            if self.extra is not None:
                seen = stack.enter_context(catch(self.extra.module, "output", keep_graph=True))
            logits = self._logits(rows)
        graded = target_losses(logits[:count], _top(rows, count).batch.to(self.device))
        local = torch.searchsorted(chosen, owners[:count])
        counts = torch.bincount(local, minlength=len(part))
        nll = torch.zeros(len(part), device=self.device).index_add(0, local, graded.losses) / counts
        penalty = torch.zeros_like(nll)
        for unit in units:
            share = config.clamp**2 * unit[chosen].square().mean(1)  # (‖δ‖ / ‖v₀‖)²
            penalty = penalty + config.decay * share
        if essence is not None and config.kl:
            now = self._predictions(logits, rows, count)
            old = essence[chosen]
            penalty = penalty + config.kl * (old.exp() * (old - now)).sum(-1)
        if self.extra is not None and seen is not None:
            penalty = penalty + self.extra.term(seen.last, rows, count) / len(part)
        return nll, penalty

    def _logits(self, rows: Padded) -> Tensor:
        output: Any = self.model(**rows.batch.inputs(self.model))
        logits: Tensor = output.logits
        return logits

    def _predictions(self, logits: Tensor, rows: Padded, count: int) -> Tensor:
        """Return the essence rows' log-probabilities after their last token [edits, vocabulary]."""
        own = logits[count:]
        at = rows.batch.prompt_last[count:].to(logits.device)
        last = own[torch.arange(len(own), device=own.device), at]
        return torch.log_softmax(last.float(), -1)


def _top(rows: Padded, count: int) -> Padded:
    """Return the first rows of a batch."""
    cut = {name: getattr(rows.batch, name)[:count] for name in rows.batch.__slots__}
    return Padded(type(rows.batch)(**cut), rows.subjects, rows.edits[:count])
