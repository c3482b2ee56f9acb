"""Trains Atlas from nothing on two cores: `python -m examples.atlas.train --run DIR`.

The run directory holds the tokenizer, the state (resumable) and the curve. The learning rate
is warmed up, held, and decayed over the last steps; an average of the recent weights (EMA) is
exported on the way, so a usable checkpoint exists at any time. `--decay N` branches off a
decay of N steps from the saved state and leaves that state as it is. `--device cuda` computes on a
GPU, with the same recipe.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from examples.atlas.accelerator import Accelerator
from examples.atlas.corpus import Corpus
from examples.atlas.export import export
from examples.atlas.muon import StackedMuon
from examples.atlas.network import Shape, cast, collect_gradients, new_parameters
from examples.atlas.stream import Stream, known_share
from examples.atlas.tokenizer import train_tokenizer
from examples.atlas.workers import Tally, Workers, keep_freed_memory
from examples.atlas.world import build_world


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
    weight_decay: float = 0.02
    ema: float = 0.99
    seed: int = 11


HEIGHT = 14
"""Rows of a step on a GPU: room for all but a document in thousands."""

SMOKE = Recipe(steps=12, decay=4, warmup=2, copying=4, tokens=2048, micro=2048)
SMOKE_SHAPE = Shape(vocab=1024, width=64, hidden=128, layers=2, heads=2)


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
        muon = torch.optim.Muon if on_cpu else StackedMuon
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
            tally = workers.gradients(cast(self.parameters, self.shape), self.step)
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


class Stop:
    """Turns SIGTERM and SIGINT into a clean stop after the step in hand."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True


def make_stream(tokenizer: Path, recipe: Recipe, shape: Shape) -> Stream:
    """The stream of documents, the same in every process."""
    corpus = Corpus(build_world(), training=True)
    loaded = Tokenizer.from_file(str(tokenizer))
    return Stream(corpus, loaded, recipe.seed, recipe.tokens, recipe.micro, recipe.copying,
                  shape, (recipe.ramp_from, recipe.ramp), recipe.cap)  # fmt: skip


def progress_of(trainer: Trainer, recipe: Recipe) -> dict[str, float]:
    """What an export says about the training so far."""
    share = known_share(trainer.step, (recipe.ramp_from, recipe.ramp), recipe.cap)
    return {"step": trainer.step, "tokens": trainer.seen, "known_share": round(share, 4)}


def train(
    run: Path,
    shape: Shape,
    recipe: Recipe,
    decay: int = 0,
    export_every: int = 100,
    save_every: int = 50,
    export_to: Path | None = None,
    processes: int = 1,
    grow_from: Path | None = None,
    start_from: Path | None = None,
    device: str = "cpu",
) -> Trainer:
    """Trains, or goes on training, in `run`; returns the trainer at its end.

    With `decay`, the saved state is decayed over that many steps and exported, and stays.
    `processes` compute the gradients on a CPU, and make the batches for any other `device`.
    """
    run.mkdir(parents=True, exist_ok=True)
    export_to = export_to or run / "export"
    world = build_world()
    path = run / "tokenizer.json"
    if not path.exists() and start_from is not None:
        shutil.copyfile(start_from / "tokenizer.json", path)
    elif not path.exists():
        train_tokenizer(world, shape.vocab).save(str(path))
    tokenizer = Tokenizer.from_file(str(path))
    trainer = Trainer(shape, recipe, device)
    state = run / "state.pt"
    if state.exists():
        trainer.load(state)
    elif grow_from is not None:
        trainer.grow_from(grow_from)
    elif start_from is not None:
        trainer.start_from(start_from)
    steps = trainer.step + decay if decay else recipe.steps
    decay_from = trainer.step if decay else recipe.steps - recipe.decay
    length = decay or recipe.decay
    stop = Stop()
    curve = (run / ("curve-decay.jsonl" if decay else "curve.jsonl")).open("a", encoding="utf-8")
    columns = (
        *Progress.get_default_columns(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    began, first = time.monotonic(), trainer.seen
    make = partial(make_stream, path, recipe, shape)
    workers: Workers | Accelerator = (
        Workers(cast(trainer.parameters, shape), shape, make, processes)
        if device == "cpu"
        else Accelerator(shape, trainer.whole_step, make, HEIGHT, processes,
                         range(trainer.step, steps), trainer.device)
    )  # fmt: skip
    with Progress(*columns) as progress, curve, workers:
        task = progress.add_task("Atlas", total=steps, completed=trainer.step, note="")
        while trainer.step < steps and not stop.asked:
            tally = trainer.train_step(workers, trainer.rate(decay_from, length))
            progress.update(task, completed=trainer.step)
            if trainer.step % 10 == 0:
                loss, answers = float(tally.loss), float(tally.answers)
                speed = (trainer.seen - first) / (time.monotonic() - began)
                note = f"loss {loss:.3f} answers {answers:.3f} {speed:,.0f} tokens/s"
                progress.update(task, note=note)
                row = {"step": trainer.step, "tokens": trainer.seen, "loss": round(loss, 4),
                       "answers": round(answers, 4), "tokens_per_s": round(speed),
                       "seconds": round(time.monotonic() - began)}  # fmt: skip
                curve.write(json.dumps(row) + "\n")
                curve.flush()
            if trainer.step % save_every == 0 and not decay:
                trainer.save(state)
            if trainer.step % export_every == 0:
                export(trainer.average, shape, tokenizer, export_to, progress_of(trainer, recipe))
    if not decay:
        trainer.save(state)
    final = trainer.parameters if trainer.step >= steps else trainer.average
    export(dict(final), shape, tokenizer, export_to, progress_of(trainer, recipe))
    return trainer


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, required=True, help="directory of the run")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--final-decay", type=int, default=Recipe().decay, help="of --steps")
    parser.add_argument("--decay", type=int, default=0, help="branch off a decay of N steps")
    parser.add_argument("--export-to", type=Path, help="default: RUN/export")
    parser.add_argument("--export-every", type=int, default=100)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--device", default="cpu", help="cuda: the processes make the batches")
    parser.add_argument("--start-from", type=Path, help="folder of an exported checkpoint")
    parser.add_argument("--grow-from", type=Path, help="state of a run with half the layers")
    parser.add_argument("--cap", type=float, default=1.0, help="largest share of the world")
    parser.add_argument("--layers", type=int, default=Shape().layers)
    parser.add_argument("--smoke", action="store_true", help="a tiny network, a few steps")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        print(
            "This CPU has no bfloat16 arithmetic (AVX-512 BF16 or AMX), which is then emulated: "
            "expect a hundredth of the speed in the README.",
            file=sys.stderr,
        )
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # this process trains and does nothing else
    keep_freed_memory()
    shape, recipe = (
        (SMOKE_SHAPE, SMOKE)
        if options.smoke
        else (
            Shape(layers=options.layers),
            Recipe(
                options.steps,
                options.final_decay,
                cap=options.cap,
                copying=0 if options.start_from else Recipe().copying,
            ),
        )
    )
    train(
        options.run, shape, recipe, options.decay, options.export_every, options.save_every,
        export_to=options.export_to, processes=options.processes,
        grow_from=options.grow_from, start_from=options.start_from, device=options.device,
    )  # fmt: skip


if __name__ == "__main__":
    main()
