"""What Atlas's training changes with every step: parameters, optimizers and their average."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from examples.atlas.accelerator import Accelerator
from examples.atlas.muon import StackedMuon
from examples.atlas.network import Shape, cast, collect_gradients, new_parameters
from examples.atlas.workers import Tally, Workers


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; `steps` in all, the last `decay` of them with a falling rate."""

    steps: int = 20000
    decay: int = 1500
    warmup: int = 40
    copying: int = 300
    tokens: int = 8192
    micro: int = 2048
    ramp_from: int = 0
    ramp: int = 400
    cap: float = 1.0
    muon: float = 4e-3
    adam: float = 3e-3
    weight_decay: float = 0.05
    ema: float = 0.99
    seed: int = 11


def arithmetic() -> torch.dtype:
    """What a CPU computes in: bfloat16 where it has instructions for it."""
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32


class Trainer:
    """Parameters, optimizers and EMA, with a state that can be saved and loaded."""

    def __init__(self, shape: Shape, recipe: Recipe, device: str = "cpu"):
        self.shape = shape
        self.recipe = recipe
        fresh = new_parameters(shape, torch.Generator().manual_seed(recipe.seed))
        self.parameters = {n: nn.Parameter(p.detach().to(device)) for n, p in fresh.items()}
        hidden = [p for n, p in self.parameters.items() if p.ndim == 2 and "embed" not in n]
        rest = [p for n, p in self.parameters.items() if p.ndim == 1 or "embed" in n]
        self.device = torch.device(device)
        on_cpu = device == "cpu"
        muon: type[torch.optim.Muon] = StackedMuon
        if on_cpu and arithmetic() == torch.bfloat16:
            muon = torch.optim.Muon
        self.optimizers: list[torch.optim.Optimizer] = [
            muon(
                hidden,
                lr=recipe.muon,
                weight_decay=recipe.weight_decay,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(
                rest, lr=recipe.adam, betas=(0.9, 0.98), weight_decay=0.0, capturable=not on_cpu,
                foreach=None if on_cpu else True,
            ),
        ]  # fmt: skip
        if on_cpu and isinstance(self.optimizers[0], StackedMuon):
            self.optimizers[0].arithmetic = arithmetic()
        self._keep_rates()
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.mix = torch.zeros((), device=self.device)
        self.step = 0
        self.seen = 0
        self.born = 0

    def grow_from(self, path: Path) -> None:
        """Starts from a saved state with half as many layers; what it computes stays the same.

        Every layer is followed by a copy of itself whose outputs are zero. The first part of
        training costs half as much with half the layers, and loses nothing.
        """
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.step = self.born = state["step"]
        self.seen = state["seen"]
        with torch.no_grad():
            for name, value in self.parameters.items():
                source, copied = name, False
                if name.startswith("model.layers."):
                    number, rest = name.removeprefix("model.layers.").split(".", 1)
                    source = f"model.layers.{int(number) // 2}.{rest}"
                    copied = int(number) % 2 == 1
                value.copy_(state["parameters"][source])
                if copied and name.endswith(("o_proj.weight", "down_proj.weight")):
                    value.zero_()
                self.average[name].copy_(value)

    def start_from(self, folder: Path) -> None:
        """Starts from an exported checkpoint of the same shape; steps and rates begin anew."""
        with torch.no_grad():
            for name, value in load_file(folder / "model.safetensors").items():
                self.parameters[name].copy_(value)
                self.average[name].copy_(value)
        progress = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        self.seen = int(progress.get("tokens", 0))

    def rate(self, decay_from: int, decay: int) -> float:
        """The factor on the learning rate at the present step."""
        factor = min(1.0, (self.step - self.born + 1) / self.recipe.warmup)
        if self.step >= decay_from:
            factor *= max(0.02, 1 - (self.step - decay_from) / decay)
        return factor

    def _keep_rates(self) -> None:
        """On a GPU rates are tensors, since a recorded step reads them anew each time."""
        if self.device.type == "cpu":
            return
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=self.device)
                if "capturable" in group:
                    group["capturable"] = True

    def set_rates(self, factor: float) -> None:
        """The rates of the next step, that of the average among them."""
        for optimizer, base in zip(
            self.optimizers, (self.recipe.muon, self.recipe.adam), strict=True
        ):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(base * factor)
                else:
                    group["lr"] = base * factor
        age = self.step - self.born
        self.mix.fill_(1 - min(self.recipe.ema, (age + 1) / (age + 10)))

    def update(self, leaves: dict[str, Tensor]) -> None:
        """Takes over the gradients of the leaves and moves the parameters and their average."""
        collect_gradients(leaves, self.parameters, self.shape)
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in self.parameters.items():
                self.average[name].lerp_(value, self.mix)

    def whole_step(self, gradients: Callable[[dict[str, Tensor]], None]) -> None:
        """What a step does on the device, with `gradients` of its leaves."""
        leaves = cast(self.parameters, self.shape)
        gradients(leaves)
        self.update(leaves)

    def train_step(self, workers: Workers | Accelerator, factor: float) -> Tally:
        """One step; its losses."""
        self.set_rates(factor)
        if isinstance(workers, Accelerator):
            tally = workers.step()
        else:
            fresh = cast(self.parameters, self.shape, workers.leaves["norm"].dtype)
            tally = workers.gradients(fresh, self.step)
            self.update(workers.leaves)
        self.seen += tally.tokens
        self.step += 1
        return tally

    def save(self, path: Path) -> None:
        """Writes the whole state."""
        state: dict[str, Any] = {
            "step": self.step,
            "seen": self.seen,
            "born": self.born,
            "shape": self.shape.as_dict(),
            "parameters": {n: p.detach().cpu() for n, p in self.parameters.items()},
            "average": {n: v.cpu() for n, v in self.average.items()},
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Reads a state that `save` wrote, for the same shape."""
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["shape"] != self.shape.as_dict():
            raise ValueError(f"{path} holds {state['shape']}, expected {self.shape.as_dict()}")
        self.step, self.seen, self.born = state["step"], state["seen"], state["born"]
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
                self.average[name].copy_(state["average"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._keep_rates()
