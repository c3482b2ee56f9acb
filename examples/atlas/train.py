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
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from examples.atlas.accelerator import Accelerator
from examples.atlas.corpus import Corpus
from examples.atlas.export import export
from examples.atlas.network import Shape, cast
from examples.atlas.stream import Stream, known_share
from examples.atlas.tokenizer import train_tokenizer
from examples.atlas.trainer import Recipe, Trainer, arithmetic
from examples.atlas.workers import Workers, keep_freed_memory
from examples.atlas.world import build_world

HEIGHT = 14
"""Rows of a step on a GPU: room for all but a document in thousands."""

SMOKE = Recipe(steps=12, decay=4, warmup=2, copying=4, tokens=2048, micro=2048)
SMOKE_SHAPE = Shape(vocab=1024, width=64, hidden=128, layers=2, heads=2)


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
        Workers(cast(trainer.parameters, shape, arithmetic()), shape, make, processes)
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
    parser = argparse.ArgumentParser(
        prog="python -m examples.atlas.train",
        description=__doc__.splitlines()[0] if __doc__ else None,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="directory of the run")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="in all")
    parser.add_argument("--final-decay", type=int, default=Recipe().decay, help="of --steps")
    parser.add_argument("--decay", type=int, default=0, help="branch off a decay of N steps")
    parser.add_argument("--export-to", type=Path, help="a checkpoint's folder, else RUN/export")
    parser.add_argument("--export-every", type=int, default=100, help="steps")
    parser.add_argument("--save-every", type=int, default=50, help="steps; what a stop can lose")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--device", default="cpu", help="or cuda: the processes make the batches")
    parser.add_argument("--start-from", type=Path, help="folder of an exported checkpoint")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--seed", type=int, default=Recipe().seed, help="of the documents")
    parser.add_argument("--grow-from", type=Path, help="state of a run with half the layers")
    parser.add_argument("--cap", type=float, default=1.0, help="largest share of the world")
    parser.add_argument("--layers", type=int, default=Shape().layers, help="of the network")
    parser.add_argument("--smoke", action="store_true", help="a tiny network, a few steps")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and arithmetic() == torch.float32:
        print(
            "This CPU has no bfloat16 arithmetic (AVX-512 BF16 or AMX): training computes in "
            "float32, at about a sixth of the speed in the README.",
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
                ramp=0 if options.start_from else Recipe().ramp,
                muon=Recipe().muon * options.rate,
                adam=Recipe().adam * options.rate,
                seed=options.seed,
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
