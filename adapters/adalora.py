"""AdaLoRA: low-rank changes as singular triplets, whose number is shared out among the matrices.

Trained as ``P Λ Q`` with orthonormal P and Q, from more triplets than are wanted; the least
important ones are dropped on the way.  What is left is folded, Λ into both factors, and from then
on it is a plain LoRA: attached, saved and served as ``lora`` is.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.blocks import RATE_SHARE, TrainingConfig
from memedit.adapters.grading import grade, grades, parts
from memedit.adapters.learned import HeldEdit, Learned, Progress
from memedit.adapters.lora import NAME, Lora, LoraSettings, factor_name, injected, module_of
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.architecture import Matrix
from memedit.modeling.tokens import Tokens, pad
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class AdaLoraSettings(LoraSettings):
    """Settings of AdaLoRA; ``rank`` is what a matrix has in the mean when it is learned."""

    initial_rank: int = 12
    """Triplets of every matrix at the beginning."""
    warmup: float = 0.1
    """The share of the steps before triplets are dropped."""
    final: float = 0.5
    """The share of the steps after the last one is dropped."""
    orthogonal: float = 0.1
    """The weight of what keeps P and Q orthonormal."""
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=120))
    """Its ``rate`` is that of Λ; P and Q move by ``RATE_SHARE`` of their entries' size."""

    def __post_init__(self) -> None:
        LoraSettings.__post_init__(self)
        if not self.initial_rank > self.rank:
            raise InvalidInputError(
                f"initial_rank {self.initial_rank}, rank {self.rank}: expected more triplets at "
                "the beginning than in the end"
            )
        shares = (self.warmup, self.final)
        if not (min(*shares, self.orthogonal) >= 0 and sum(shares) < 1):
            raise InvalidInputError(
                f"warmup {self.warmup}, final {self.final}, orthogonal {self.orthogonal}: expected "
                "none under 0, and shares of the steps that leave some between them"
            )
        if self.last_drop - self.first_drop < 2:
            raise InvalidInputError(
                f"{self.training.steps} steps leave too few between warmup {self.warmup} and "
                f"final {self.final} to drop triplets in; take more steps, or smaller shares"
            )

    @property
    def first_drop(self) -> int:
        """The step after which triplets are dropped."""
        return int(self.warmup * self.training.steps)

    @property
    def last_drop(self) -> int:
        """The step after which none is dropped any more."""
        return self.training.steps - int(self.final * self.training.steps)


@register("adalora")
class AdaLora(Lora):
    """AdaLoRA by peft: its layers, its importance of triplets and its budget of them.

    P and Q begin orthonormal, where the paper draws them from a Gaussian: as a second batch goes
    on from the first, whose triplets are.  A step is over all edits of a batch together.

    Source: Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient
    Fine-Tuning", equations 3 to 10.
    """

    config_type = AdaLoraSettings
    config: AdaLoraSettings

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        rows = [self.tokens(tokenizer, one.request) for one in new]
        matrices = self._matrices(model)
        at_once = self.config.training.rows
        before, _ = grades(model, tokenizer, rows, at_once)
        with injected(
            model, lambda: self._tuner(model, matrices), self.config.training.seed
        ) as tuner:
            triplets = {one.name: Triplets(tuner.layers[module_of(one)], one) for one in matrices}
            draw = torch.Generator().manual_seed(self.config.training.seed)
            for one in matrices:
                triplets[one.name].begin(self._held_factors(one), draw)
            steps = self._train_triplets(
                model, tokenizer, rows, tuner.tuner, list(triplets.values()), progress
            )
            folded = {module_of(one): triplets[one.name].folded() for one in matrices}
        ranks = {name: len(down) for name, (down, _) in folded.items()}
        most = max(ranks.values())
        pattern = {re.escape(name): rank for name, rank in ranks.items() if rank != most}
        self.peft_config = {
            **self._peft_config(matrices),
            **{"r": most, "lora_alpha": most, "rank_pattern": pattern, "alpha_pattern": pattern},
        }
        self.factors = {
            factor_name(name, side): factor
            for name, pair in folded.items()
            for side, factor in zip("AB", pair, strict=True)
        }
        with self._attached(model):  # as it will be used: not the triplets, but what was folded
            losses, said = grades(model, tokenizer, rows, at_once)
        old = tuple(one.edit for one in self.held if one.edit.id in set(replaces))
        return Learned(tuple(before), tuple(losses), tuple(said), steps, old)

    def _train_triplets(
        self,
        model: nn.Module,
        tokenizer: Any,
        rows: Sequence[Tokens],
        tuner: Any,
        triplets: Sequence[Triplets],
        progress: Progress,
    ) -> int:
        """Take a step per pass over all edits; the last ones until all are learned."""
        config, settings = self.config.training, self.config
        optimizer = torch.optim.Adam([g for one in triplets for g in one.groups(config.rate)])
        for step in range(1, config.steps + 1):
            progress(step - 1, config.steps)
            optimizer.zero_grad()
            all_known = True
            for part in parts(range(len(rows)), config.rows):
                graded = grade(model, pad([rows[n] for n in part], tokenizer))
                loss = graded.losses.sum() / len(rows)
                if not bool(torch.isfinite(loss)):
                    raise DivergedError(
                        f"AdaLoRA diverged after {step - 1} steps: a loss is no number; nothing "
                        "was learned. Try a smaller rate"
                    )
                all_known &= bool((graded.learned & (graded.losses < config.enough)).all())
                loss.backward()  # type: ignore[no-untyped-call]
            if all_known and step > settings.last_drop:
                progress(config.steps, config.steps)
                return step - 1
            away = torch.stack([one.away_from_orthonormal() for one in triplets]).mean()
            (settings.orthogonal * away).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            tuner.update_and_allocate(step)
        progress(config.steps, config.steps)
        return config.steps

    def _tuner(self, model: nn.Module, matrices: Sequence[Matrix]) -> Any:
        adalora: Any = importlib.import_module("peft.tuners.adalora")
        settings, plain = self.config, self._peft_config(matrices)
        return adalora.AdaLoraModel(
            model,
            adalora.AdaLoraConfig(
                target_modules=plain["target_modules"],
                fan_in_fan_out=plain["fan_in_fan_out"],
                lora_alpha=settings.initial_rank,
                init_r=settings.initial_rank,
                target_r=settings.rank,
                tinit=settings.first_drop,
                tfinal=settings.training.steps - settings.last_drop,
                total_step=settings.training.steps,
            ),
            NAME,
        )

    def _held_factors(self, matrix: Matrix) -> tuple[Tensor, Tensor] | None:
        """Return [r, in] and [out, r] of what was learned already."""
        if self.factors is None:
            return None
        held: Mapping[str, Tensor] = self.factors
        name = module_of(matrix)
        return held[factor_name(name, "A")], held[factor_name(name, "B")]


class Triplets:
    """A matrix's singular triplets in PEFT's layer: Q [r, in], Λ [r, 1], P [out, r], float32."""

    def __init__(self, layer: Any, matrix: Matrix) -> None:
        self.q: nn.Parameter = layer.lora_A[NAME]
        self.values: nn.Parameter = layer.lora_E[NAME]
        self.p: nn.Parameter = layer.lora_B[NAME]
        for factor in (self.q, self.values, self.p):  # PEFT takes the model's dtype
            factor.data = factor.data.float()
        self.scale = float(layer.scaling[NAME] / (layer.ranknum[NAME] + 1e-5))
        """PEFT's factor of the product."""
        self._weight = matrix.as_out_in()
        if len(self.q) > min(self._weight.shape):
            raise InvalidInputError(
                f"initial_rank {len(self.q)} is more than {matrix.name} has, of shape "
                f"{tuple(self._weight.shape)}"
            )

    def begin(self, held: tuple[Tensor, Tensor] | None, draw: torch.Generator) -> None:
        """Take the triplets of held factors, and others at random that add nothing yet."""
        count, (out, width) = len(self.q), self._weight.shape
        left, values, right = torch.zeros(out, 0), torch.zeros(0), torch.zeros(width, 0)
        if held is not None:
            down, up = held
            one, other = torch.linalg.qr(up), torch.linalg.qr(down.T)
            inner = torch.linalg.svd(one.R @ other.R.T)
            there = int((inner.S > 0).sum())
            left = (one.Q @ inner.U)[:, :there]
            right = (other.Q @ inner.Vh.T)[:, :there]
            values = inner.S[:there] / self.scale
        with torch.no_grad():
            self.p.copy_(_completed(left, count, draw))
            self.q.copy_(_completed(right, count, draw).T)
            self.values.zero_()
            self.values[: len(values), 0] = values.to(self.values)
        for factor in (self.q, self.values, self.p):
            factor.requires_grad_(True)

    def groups(self, rate: float | None) -> list[dict[str, Any]]:
        """Return what Adam is to move, and how far.

        A step of all Λ moves the product's entries by about rate · √(r / (in out)), which by
        default is ``RATE_SHARE`` of the weights' size.
        """
        out, width = self._weight.shape
        size = float(self._weight.detach().float().square().mean().sqrt())
        default = RATE_SHARE * size * (out * width / len(self.q)) ** 0.5
        return [
            {"params": [self.values], "lr": default if rate is None else rate},
            {"params": [self.p], "lr": RATE_SHARE / out**0.5},
            {"params": [self.q], "lr": RATE_SHARE / width**0.5},
        ]

    def away_from_orthonormal(self) -> Tensor:
        """Return ‖PᵀP - I‖² + ‖QQᵀ - I‖² (Frobenius); with a graph."""
        eye = torch.eye(len(self.q), device=self.q.device)
        p, q = self.p.float(), self.q.float()
        return (p.T @ p - eye).square().sum() + (q @ q.T - eye).square().sum()

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return [k, in] and [out, k], float32, whose product is that of the k triplets left.

        A matrix that has none left gets one that adds nothing: PEFT has no rank 0.
        """
        values = self.values.detach().float()[:, 0] * self.scale
        left = values.nonzero()[:, 0]
        if not len(left):
            left = torch.zeros(1, dtype=torch.long, device=values.device)
        root = values[left].abs().sqrt()
        down = self.q.detach().float()[left] * (root * values[left].sign())[:, None]
        up = self.p.detach().float()[:, left] * root
        return down.cpu().contiguous(), up.cpu().contiguous()


def _completed(columns: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Put random columns beside orthonormal ones [n, k], all orthonormal: [n, count]."""
    more = torch.randn(len(columns), count - columns.shape[1], generator=draw)
    for _ in range(2):  # twice: once leaves what rounding leaves
        more = more - columns @ (columns.T @ more)
    return torch.cat([columns, torch.linalg.qr(more).Q], 1)
