"""Fine-tuning one MLP's value matrix: what FT-M, FT-L and FT-Constrained share.

The change is a tensor of its own, added to the weight inside the forward pass; the model's own
parameter is never written to.  It is kept in float32, also for a bfloat16 model, and rounded to
the model's dtype before it is used, so that what is optimised is what will be served.
"""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from memedit.editing.base import Editor, EditorConfig, Progress
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.architecture import Matrix, architecture
from memedit.modeling.delta import WeightDelta
from memedit.modeling.losses import Graded
from memedit.modeling.tokens import Batch, Tokens, pad
from memedit.types import EditRequest

RATE_SHARE = 0.03
"""What a step moves a weight by, as a share of the weights' size.

For Llama-2-7B that is about the 5e-4 of the published settings; a small model has larger weights
and needs larger steps.
"""


@dataclass(frozen=True, slots=True)
class FineTuningConfig(EditorConfig):
    """Settings of fine-tuning one layer."""

    rate: float | None = None
    """Adam's learning rate; ``None``: ``RATE_SHARE`` of the weight's root mean square."""
    steps: int = 60
    """Passes over the edits, at most."""
    enough: float = 0.05
    """An edit is learned when its loss is under this and its target is what would be said."""
    rows: int = 64
    """Edits per optimiser step."""
    seed: int = 0
    """Of the order of the edits, where they do not fit into one step."""

    def __post_init__(self) -> None:
        rate = 1.0 if self.rate is None else self.rate
        if not (rate > 0 and self.steps >= 1 and self.enough > 0 and self.rows >= 1):
            raise InvalidInputError(
                f"rate {self.rate}, steps {self.steps}, enough {self.enough}, rows {self.rows}: "
                "expected numbers above 0"
            )


F = TypeVar("F", bound=FineTuningConfig)


class FineTuning(Editor[F]):
    """Adam on the change of one value matrix, all edits together, until all are learned."""

    @abstractmethod
    def grade(self, logits: Tensor, batch: Batch) -> Graded:
        """Return each row's loss, and whether its target would be said.

        Args:
            logits: [B, S, vocabulary], float32.
            batch: the rows, on the logits' device.

        """

    def limit(self) -> float | None:
        """Return the largest size that any entry of the change may have; ``None``: no limit."""
        return None

    def compute(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress,
    ) -> WeightDelta:
        """Optimise the change of the layer's value matrix.

        Raises:
            DivergedError: the loss was no number, or not under where it began.

        """
        config = self.config
        matrix = architecture(model).layer(self.layer).down
        rows = [self.tokens(tokenizer, request) for request in requests]
        change = torch.zeros_like(matrix.weight, dtype=torch.float32).requires_grad_(True)
        rate = config.rate
        if rate is None:
            rate = RATE_SHARE * float(matrix.weight.detach().float().square().mean().sqrt())
        optimizer = torch.optim.Adam([change], lr=rate)
        order = random.Random(config.seed)
        start = self._loss(model, tokenizer, matrix, change, rows)
        steps = 0
        for done in range(config.steps):
            progress(done, config.steps)
            if len(rows) > config.rows:
                order.shuffle(rows)
            before = steps
            for first in range(0, len(rows), config.rows):
                part = rows[first : first + config.rows]
                graded = self._run(model, tokenizer, matrix, change, part)
                loss = graded.losses.mean()
                if not bool(torch.isfinite(loss)):
                    raise self._diverged(start[0], float(loss), steps, rate)
                if bool((graded.learned & (graded.losses < config.enough)).all()):
                    continue
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if (bound := self.limit()) is not None:
                    with torch.no_grad():
                        change.clamp_(-bound, bound)
                steps += 1
            if steps == before:  # every edit was seen learned under the same weights
                break
        progress(config.steps, config.steps)
        end = self._loss(model, tokenizer, matrix, change, rows)
        if steps and not (math.isfinite(end[0]) and end[0] < start[0]):
            raise self._diverged(start[0], end[0], steps, rate)
        notes = {
            **self.notes(),
            "rate": rate,
            "edits": len(rows),
            "optimizer_steps": steps,
            "loss_before": start[0],
            "loss_after": end[0],
            "learned": end[1],
        }
        return WeightDelta({matrix.name: change.detach()}, self.name, notes=notes)

    def _loss(
        self,
        model: nn.Module,
        tokenizer: Any,
        matrix: Matrix,
        change: Tensor,
        rows: Sequence[Tokens],
    ) -> tuple[float, int]:
        """Return the mean loss over all edits, and how many targets would be said."""
        total, learned = 0.0, 0
        with torch.no_grad():
            for first in range(0, len(rows), self.config.rows):
                part = rows[first : first + self.config.rows]
                graded = self._run(model, tokenizer, matrix, change, part)
                total += float(graded.losses.sum())
                learned += int(graded.learned.sum())
        return total / len(rows), learned

    def _run(
        self,
        model: nn.Module,
        tokenizer: Any,
        matrix: Matrix,
        change: Tensor,
        rows: Sequence[Tokens],
    ) -> Graded:
        batch = pad(rows, tokenizer)
        own = matrix.weight.detach()
        weight = (own.float() + change).to(own.dtype)
        output: Any = functional_call(model, {matrix.name: weight}, (), batch.inputs(model))
        return self.grade(output.logits, batch.to(output.logits.device))

    def _diverged(self, start: float, now: float, steps: int, rate: float) -> DivergedError:
        return DivergedError(
            f"{self.name} diverged at layer {self.layer}: the loss began at {start:.4f} and is "
            f"{now:.4f} after {steps} steps; nothing was changed. Try a rate under "
            f"{rate:.2g}, another layer, or fewer edits at once"
        )
