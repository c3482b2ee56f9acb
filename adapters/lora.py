"""LoRA: low-rank factors beside the weights, trained on the targets; saved as PEFT saves them.

A LoRA has no scope of its own: it is attached for prompts that a router chose, and all its edits
share its factors.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from memedit.adapters.base import Adapter
from memedit.adapters.blocks import TrainingConfig, default_rate
from memedit.adapters.grading import grades
from memedit.adapters.learned import (
    AdapterConfig,
    Attachment,
    HeldEdit,
    Host,
    Learned,
    Progress,
    Saved,
)
from memedit.adapters.learned_together import learn_rest_anew, train_together
from memedit.errors import ConflictError, InvalidInputError, SettingsError
from memedit.modeling.architecture import Matrix, architecture, linear_matrix
from memedit.registry import register

NAME = "memedit"
"""What PEFT calls the adapter while it is in a model."""


@dataclass(frozen=True, slots=True)
class LoraSettings(AdapterConfig):
    """Settings of a LoRA; its ``layer`` is short for ``layers`` with one number."""

    layers: tuple[int, ...] | None = None
    """Whose value matrices it is beside; ``None``: all, or that of ``layer``."""
    targets: tuple[str, ...] | None = None
    """Full names of modules in place of ``layers``, e.g. ``model.layers.3.self_attn.q_proj``."""
    rank: int = 8
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InvalidInputError(f"rank {self.rank}: expected a number from 1")
        if self.layer is not None and (self.layers is not None or self.targets is not None):
            raise InvalidInputError(
                f"layer {self.layer} beside layers or targets: expected one of the three"
            )


@register("lora")
class Lora(Adapter[LoraSettings]):
    """LoRA by peft; cross-entropy of the target's tokens, the prompt masked; alpha is the rank.

    Learning a second batch goes on from the first, which may be forgotten in part.

    Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    config_type = LoraSettings
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS, Host.VLLM_LORA})
    scoped = False
    together = True
    factors: Mapping[str, Tensor] | None = None
    """By PEFT's names: ``…lora_A.weight`` [r, in] and ``…lora_B.weight`` [out, r], float32."""
    peft_config: Mapping[str, Any] | None = None
    """What PEFT's adapter_config.json holds."""

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
        if self.peft_config is None:
            self.peft_config = self._peft_config(matrices)
        config = self.config.training
        before, _ = grades(model, tokenizer, rows, config.rows)
        with self._injected(model) as layers:
            groups = [
                {
                    "params": [layer.lora_A[NAME].weight, layer.lora_B[NAME].weight],
                    "lr": config.rate or default_rate(matrix, self.config.rank),
                }
                for matrix in matrices
                for layer in [layers[module_of(matrix)]]
            ]
            steps = train_together(
                self.name, model, tokenizer, rows, torch.optim.Adam(groups), config, progress
            )
            losses, said = grades(model, tokenizer, rows, config.rows)
            self.factors = {
                factor_name(name, side): (
                    getattr(layer, f"lora_{side}")[NAME].weight.detach().float().cpu().clone()
                )
                for name, layer in layers.items()
                for side in "AB"
            }
        old = tuple(one.edit for one in self.held if one.edit.id in set(replaces))
        return Learned(tuple(before), tuple(losses), tuple(said), steps, old)

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        if self.factors is None:
            yield Attachment()
            return
        with self._injected(model):
            yield Attachment()

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        self.factors = None
        learn_rest_anew(self, edit_id, model, tokenizer)

    def to_saved(self) -> Saved:
        """Return the factors, and PEFT's configuration."""
        return Saved(self.factors or {}, {"peft_config": dict(self.peft_config or {})})

    def restore(self, saved: Saved) -> None:
        """Take factors; see ``Adapter.restore``."""
        config = dict(saved.state["peft_config"])
        names = list(config["target_modules"])
        if saved.tensors:
            for name in names:
                down, up = (saved.tensors.get(factor_name(name, side)) for side in "AB")
                rank = config.get("rank_pattern", {}).get(re.escape(name), config["r"])
                one = (rank,)
                if down is None or up is None or (down.shape[:1], up.shape[1:]) != (one, one):
                    raise InvalidInputError(f"{name} has no two factors of rank {rank}")
            if len(saved.tensors) != 2 * len(names):
                raise InvalidInputError("there are factors of modules that are no targets")
        elif self.held:
            raise InvalidInputError("there are edits and no factors")
        self.peft_config = config
        self.factors = dict(saved.tensors) or None

    @contextmanager
    def _injected(self, model: nn.Module) -> Iterator[Mapping[str, Any]]:
        """Put LoRA layers with what was learned into a model, for as long as the block lasts."""
        peft: Any = importlib.import_module("peft")
        lora: Any = importlib.import_module("peft.tuners.lora")
        said = {k: v for k, v in (self.peft_config or {}).items() if k != "peft_type"}
        with injected(
            model,
            lambda: lora.LoraModel(model, peft.LoraConfig(**said), NAME),
            self.config.training.seed,
        ) as tuner:
            self._fill(tuner.layers)
            yield tuner.layers

    def _fill(self, layers: Mapping[str, Any]) -> None:
        """Copy the learned factors, if there are any, into PEFT's layers."""
        if self.factors is None:
            return
        for name, layer in layers.items():
            for side in "AB":
                held = self.factors.get(factor_name(name, side))
                weight = getattr(layer, f"lora_{side}")[NAME].weight
                if held is None or held.shape != weight.shape:
                    raise InvalidInputError(
                        f"the LoRA does not fit {name}: its factor is "
                        f"{None if held is None else tuple(held.shape)}, expected "
                        f"{tuple(weight.shape)}; it was learned for another model"
                    )
                with torch.no_grad():
                    weight.copy_(held)

    def _matrices(self, model: nn.Module) -> list[Matrix]:
        if self.config.targets is not None:
            return [self._target(model, name) for name in self.config.targets]
        found = architecture(model)
        chosen = self.config.layers
        if chosen is None:
            one = self.config.layer
            chosen = tuple(range(len(found.layers))) if one is None else (one,)
        return [found.layer(number).down for number in chosen]

    def _target(self, model: nn.Module, name: str) -> Matrix:
        try:
            return linear_matrix(model, f"{name}.weight")
        except InvalidInputError as error:
            fit = module_of(architecture(model).layer(0).down)
            raise SettingsError(
                f"{self.name}: targets has {name!r}, which is no linear module of this model; "
                f"expected full names, such as {fit!r}"
            ) from error

    def _peft_config(self, matrices: Sequence[Matrix]) -> dict[str, Any]:
        rank = self.config.rank
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": rank,
            "target_modules": [module_of(matrix) for matrix in matrices],
            "fan_in_fan_out": all(matrix.transposed for matrix in matrices),
            "lora_dropout": 0.0,
            "bias": "none",
        }


@dataclass(frozen=True, slots=True)
class Injected:
    """PEFT's layers in a model."""

    tuner: Any
    """A ``BaseTuner``."""
    layers: Mapping[str, Any]
    """By the names of the modules that they stand in for."""


@contextmanager
def injected(model: nn.Module, make: Callable[[], Any], seed: int) -> Iterator[Injected]:
    """Put PEFT's layers into a model; afterwards its own modules are back where they were.

    Args:
        model: without PEFT in it.
        make: returns the tuner that has put its layers into the model.
        seed: of what the tuner draws; PyTorch's own generators stay as they are.

    Raises:
        ConflictError: there are PEFT adapters in the model.

    """
    if hasattr(model, "peft_config"):
        raise ConflictError(
            "the model has PEFT adapters in it already; detach them before another is attached"
        )
    layer: Any = importlib.import_module("peft.tuners.lora").LoraLayer
    flags = [(p, p.requires_grad) for p in model.parameters()]
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    tuner: Any = None
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            tuner = make()
        found = {name: one for name, one in model.named_modules() if isinstance(one, layer)}
        yield Injected(tuner, found)
    finally:
        if tuner is not None:
            tuner.unload()
        for parameter, wanted in flags:
            parameter.requires_grad_(wanted)


def factor_name(module: str, side: str) -> str:
    """Return PEFT's name of a module's factor ``A`` or ``B``."""
    return f"base_model.model.{module}.lora_{side}.weight"


def module_of(matrix: Matrix) -> str:
    """Return the name of the module that a matrix is the weight of."""
    return matrix.name.removesuffix(".weight")
