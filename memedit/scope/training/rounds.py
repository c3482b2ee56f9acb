"""The rounds of the pair classifier's training, one after another.

``python -m memedit.scope.training.rounds --data DIR --run DIR``

The first round learns of all pairs (see ``pairs`` and ``phrasings``), each later one of those that
the round before it left in doubt of others (see ``mining``); trained weights may stand for the
first.  The run can be stopped at any time and goes on where it saved last.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from safetensors import SafetensorError

from memedit.config import EncoderSettings
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.encoder import open_encoder
from memedit.scope.pair_weights import read_weights
from memedit.scope.training.facts import read_facts
from memedit.scope.training.fine_tune import Recipe, fine_tune, pairs_of, write_pairs
from memedit.scope.training.mining import mined
from memedit.scope.training.network import HalfTrained
from memedit.scope.training.pairs import Encode, Pair, make_pairs
from memedit.scope.training.phrased import phrased_pairs
from memedit.scope.training.phrasings import Wordings, read_phrasings
from memedit.types import ScopeLabel


def all_pairs(data: Path, encode: Encode, round_: int = 0, seed: int = 7) -> list[Pair]:
    """Make the pairs of the benchmarks under ``data`` and of the table: others in every round.

    What a benchmark calls unrelated although the table knows it as the same relation is left out.
    The first round reads the first half of the table, the wordings that are nearest to hand.
    """
    seed += round_
    table = read_phrasings(further=round_ > 0)
    wordings = Wordings(table)
    pairs = [
        pair
        for pair in make_pairs(read_facts(data), encode, seed)
        if pair.label is not ScopeLabel.UNRELATED
        or not wordings.may_ask_the_same(pair.prompt, pair.edit)
    ]
    pairs += phrased_pairs(table, encode, seed)
    random.Random(seed).shuffle(pairs)
    return pairs


def begin_with(weights: Path, run: Path, recipe: Recipe) -> None:
    """Take a trained classifier for what the first round leaves, where ``run`` has no state yet.

    Args:
        weights: folder with a ``pair.safetensors``.
        run: gets a ``state.pt``.
        recipe: of the rounds that follow.

    Raises:
        InvalidInputError: the recipe has no later round.
        MissingResourceError: the weights cannot be read.

    """
    if recipe.rounds < 2:
        raise InvalidInputError(
            f"got {recipe.rounds} round and weights to start from, which stand for the first; give "
            "at least 2 rounds"
        )
    if (run / "state.pt").exists():
        return
    file = weights / "pair.safetensors"
    try:
        _, arrays = read_weights(file)
    except (OSError, SafetensorError, KeyError) as error:
        raise MissingResourceError(
            f"no weights to start from in {weights} ({error}); expected a folder that "
            "'memedit scope train' wrote"
        ) from error
    model = {
        name if name.startswith("head.") else f"bert.{name}": torch.from_numpy(array.copy())
        for name, array in arrays.items()
    }
    run.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model, "optimizer": None, "step": recipe.steps,
                "recipe": asdict(recipe)}, run / "state.pt")  # fmt: skip


def train(
    data: Path | None, run: Path, recipe: Recipe, processes: int = 1, device: str = "cpu"
) -> None:
    """Make the pairs where ``run`` has none yet, and train until ``run/state.pt`` is complete.

    What the rounds before the last ended with stays in ``run/state-N.pt``.

    Args:
        data: folder of the benchmarks' files; only needed where there are no pairs yet.
        run: pairs, state and curve; made where it is missing.
        recipe: how to train.
        processes: of one thread each; one where it is not a CPU that computes.
        device: ``cpu`` or ``cuda``.

    Raises:
        DatasetError: the benchmarks' files cannot be read.
        InvalidInputError: there are no pairs and no ``data`` to make them of, or several
            processes are asked for on a GPU.
        MissingResourceError: there is no GPU.

    """
    if device != "cpu" and processes > 1:
        raise InvalidInputError(
            f"got {processes} processes on {device}; several processes share a CPU, on a GPU give "
            "one, and a larger --batch"
        )
    if device != "cpu" and not torch.cuda.is_available():
        raise MissingResourceError(
            f"got --device {device}, and this machine or its torch has no GPU; train on the CPU"
        )
    run.mkdir(parents=True, exist_ok=True)
    settings = EncoderSettings()
    base = find_checkpoint(settings.model).folder
    for round_ in range(recipe.rounds):
        if round_ and not (kept := run / f"state-{round_}.pt").exists():
            shutil.copyfile(run / "state.pt", kept)
        file = pairs_of(run, round_)
        state = run / "state.pt"
        if state.exists() and _steps_of(state) >= (round_ + 1) * recipe.steps:
            continue
        if not file.exists():
            if data is None:
                raise InvalidInputError(
                    f"{run} holds no {file.name} yet; give the folder of the benchmarks' files "
                    "(--data) to make the pairs of"
                )
            with Progress(
                SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            ) as bar:
                bar.add_task(f"round {round_ + 1}: drawing pairs of {data}", total=None)
                pairs = all_pairs(data, open_encoder(settings).encode, round_, recipe.seed)
            if round_:
                read = recipe.steps * recipe.batch * processes
                judge = HalfTrained(run / f"state-{round_}.pt", base, device)
                pairs = _doubted(pairs, judge, read)
            write_pairs(file, pairs)
        fine_tune(run, base, recipe, processes, round_, device)


def _steps_of(state: Path) -> int:
    return int(torch.load(state, weights_only=True, mmap=True)["step"])


def _doubted(pairs: Sequence[Pair], judge: HalfTrained, most: int) -> list[Pair]:
    """Return the pairs that are worth another round, not many more than it reads."""
    with Progress() as progress:
        task = progress.add_task("pairs worth another round", total=len(pairs))
        found = mined(pairs, judge, lambda n: progress.advance(task, n))
        return list(islice(found, most))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; ``memedit scope train`` also finishes."""
    parser = argparse.ArgumentParser(prog="python -m memedit.scope.training.rounds")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks' files")
    parser.add_argument("--run", type=Path, required=True, help="pairs, state and curve")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--rounds", type=int, default=Recipe().rounds)
    parser.add_argument("--batch", type=int, default=Recipe().batch, help="pairs of a process")
    parser.add_argument("--processes", type=int, default=1, help="of one thread each")
    parser.add_argument("--seed", type=int, default=Recipe().seed, help="of the pairs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--start-from", type=Path, help="folder of weights that stand for the first round"
    )
    given = parser.parse_args(arguments)
    # Whoever stops this process stops its helpers: they end with it, but not on a bare SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    recipe = Recipe(given.steps, given.rounds, given.batch, seed=given.seed)
    if given.start_from is not None:
        begin_with(given.start_from, given.run, recipe)
    train(given.data, given.run, recipe, given.processes, given.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
