"""Fine-tunes the pair classifier.

A MiniLM sentence encoder becomes a classifier of pairs, in rounds (see ``rounds``).  Several
processes of one thread each share a step and add up their gradients, which on two busy cores is
faster than one process with two threads.  The run can be stopped at any time and goes on where it
saved last.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress, TextColumn
from torch import Tensor, distributed, nn
from torch import multiprocessing as mp
from torch.nn import functional

from memedit.errors import InvalidInputError
from memedit.scope.pair_input import PairTokenizer
from memedit.scope.training.batches import Batch, batches_of
from memedit.scope.training.network import PairModel
from memedit.scope.training.pairs import Pair
from memedit.scope.training.precision import half_where_fast
from memedit.types import ScopeLabel


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; ``batch`` pairs of every process make a step."""

    steps: int = 4000
    """Of each round."""
    rounds: int = 2
    batch: int = 48
    rate: float = 3e-4
    warmup: int = 40
    frozen: int = 2
    """Lower layers that stay as they are, with the embeddings."""
    smoothing: float = 0.02
    later_smoothing: float = 0.0
    """Of the rounds after the first.  With smoothing all that is plainly asked ends at one
    probability, and questions that are only close to it stand among them in no order."""
    seed: int = 7


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs that ``write_pairs`` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        Pair(prompt, edit, ScopeLabel(label), kind, *answer)
        for prompt, edit, label, kind, *answer in rows
    ]


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as JSON."""
    rows = [(p.prompt, p.edit, p.label.value, p.kind, p.answer) for p in pairs]
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def _loss(model: PairModel, batch: Batch, smoothing: float, device: str) -> tuple[Tensor, float]:
    """Return the mean loss of a batch, and the share of pairs that are told right."""
    arrays = (batch.ids, batch.segments, batch.mask)
    with half_where_fast(device):
        logits = model(*(torch.from_numpy(array).to(device) for array in arrays))
    labels = torch.from_numpy(batch.labels).to(device)
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    return loss, float((logits.argmax(1) == labels).float().mean())


def _train(
    rank: int, processes: int, run: Path, base: Path, recipe: Recipe, round_: int = 0,
    device: str = "cpu",
) -> None:  # fmt: skip
    torch.set_num_threads(1)
    if processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
        store = torch.distributed.FileStore(  # type: ignore[attr-defined]
            str(run / f"meeting-{os.getppid()}"), processes
        )
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    torch.manual_seed(recipe.seed)
    model = PairModel(base).to(device)
    parameters = model.trained(recipe.frozen)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=0.01)
    state = run / "state.pt"
    step = 0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location="cpu")
        model.load_state_dict(saved["model"])
        if saved["optimizer"] is not None:
            optimizer.load_state_dict(saved["optimizer"])
        step = int(saved["step"])
    pairs = read_pairs(pairs_of(run, round_))
    first, end = round_ * recipe.steps, (round_ + 1) * recipe.steps
    smoothing = recipe.later_smoothing if round_ else recipe.smoothing
    tokenizer = PairTokenizer(base / "tokenizer.json")
    epoch = -1
    batches: Any = iter(())
    per_epoch = len(pairs) // processes // recipe.batch
    model.train()
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    curve = (run / "curve.jsonl").open("a", encoding="utf-8") if rank == 0 else None
    began, mean = time.monotonic(), [0.0, 0.0, 0]
    with Progress(*columns, disable=rank > 0) as progress:
        title = f"round {round_ + 1} of {recipe.rounds}"
        task = progress.add_task(title, total=recipe.steps, completed=step - first, note="")
        skip = (step - first) % per_epoch
        while step < end:
            batch = next(batches, None)
            if batch is None:
                epoch = (step - first) // per_epoch
                batches = batches_of(
                    pairs[rank::processes], tokenizer, recipe.batch, recipe.seed + epoch
                )
                for _ in range(skip):
                    next(batches)
                skip = 0
                continue
            done = step - first
            factor = min(1.0, (done + 1) / recipe.warmup) * (1 - done / recipe.steps)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * factor
            loss, right = _loss(model, batch, smoothing, device)
            loss.backward()  # type: ignore[no-untyped-call]
            if processes > 1:
                flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
                distributed.all_reduce(flat)
                at = 0
                for p in parameters:
                    if p.grad is not None:
                        p.grad.copy_(flat[at : at + p.numel()].view_as(p) / processes)
                        at += p.numel()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            mean = [mean[0] + float(loss.detach()), mean[1] + right, mean[2] + 1]
            if step % 10 == 0 and curve is not None:
                row = {"step": step, "loss": round(mean[0] / mean[2], 4),
                       "right": round(mean[1] / mean[2], 4),
                       "seconds": round(time.monotonic() - began)}  # fmt: skip
                curve.write(json.dumps(row) + "\n")
                curve.flush()
                progress.update(task, completed=step - first, note=f"right {row['right']:.3f}")
                mean = [0.0, 0.0, 0]
            if rank == 0 and (step % 100 == 0 or step == end):
                part = state.with_suffix(".part")
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                            "step": step, "recipe": asdict(recipe)}, part)  # fmt: skip
                part.replace(state)
    if curve is not None:
        curve.close()
    if processes > 1:
        distributed.destroy_process_group()


def fine_tune(
    run: Path, base: Path, recipe: Recipe, processes: int = 1, round_: int = 0, device: str = "cpu"
) -> None:
    """Train one round on its pairs and leave ``run/state.pt``; goes on from one that is there.

    Args:
        run: with the round's pairs.
        base: folder of the encoder that is fine-tuned.
        recipe: that of the state, if there is one.
        processes: of one thread each; more than one only on a CPU.
        round_: from 0 on.
        device: ``cpu`` or ``cuda``.

    Raises:
        InvalidInputError: the run was begun with another number of steps.

    """
    if (run / "state.pt").exists():
        saved = torch.load(run / "state.pt", weights_only=True, mmap=True, map_location="cpu")
        if (steps := saved["recipe"]["steps"]) != recipe.steps:
            raise InvalidInputError(
                f"{run} was begun with rounds of {steps} steps, and now {recipe.steps} are asked "
                f"for; go on with --steps {steps}, or begin in another folder"
            )
        if int(saved["step"]) >= (round_ + 1) * recipe.steps:
            return
    if processes == 1:
        _train(0, 1, run, base, recipe, round_, device)
    else:
        # Freed memory that goes back to the system is dear to get again (glibc reads these).
        os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
        os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**31 - 1))
        arguments = (processes, run, base, recipe, round_)
        mp.spawn(_train, arguments, nprocs=processes, daemon=True)  # type: ignore[attr-defined,no-untyped-call]


def pairs_of(run: Path, round_: int) -> Path:
    """Return the file of a round's pairs."""
    return run / (f"pairs-{round_ + 1}.json" if round_ else "pairs.json")
