"""Fine-tunes the pair classifier.

``python -m memedit.scope.training.fine_tune --data DIR --run DIR``

A MiniLM sentence encoder becomes a classifier of pairs (see ``pairs``).  Several processes of one
thread each share a step and add up their gradients, which on two busy cores is faster than one
process with two threads.  The run can be stopped at any time and goes on where it saved last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
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

from memedit.config import EncoderSettings
from memedit.errors import InvalidInputError
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.encoder import open_encoder
from memedit.scope.pair_input import PairTokenizer
from memedit.scope.training.batches import LABELS, Batch, batches_of
from memedit.scope.training.facts import read_facts
from memedit.scope.training.pairs import Encode, Pair, make_pairs
from memedit.scope.training.phrasings import Wordings, phrased_pairs, read_phrasings
from memedit.types import ScopeLabel


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; ``batch`` pairs of every process make a step."""

    steps: int = 4000
    batch: int = 48
    rate: float = 3e-4
    warmup: int = 40
    frozen: int = 2
    """Lower layers that stay as they are, with the embeddings."""
    smoothing: float = 0.02
    seed: int = 7


class PairModel(nn.Module):
    """A BERT with three outputs over its first token."""

    def __init__(self, folder: Path) -> None:
        from transformers import BertModel

        super().__init__()
        self.bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
        for module in self.bert.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # pairs are many and different, and random numbers are dear here
        self.head = nn.Linear(self.bert.config.hidden_size, len(LABELS))

    def forward(self, ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """ids, segments, mask int64 [B, T] -> logits float32 [B, 3], in the order of LABELS."""
        hidden = self.bert(input_ids=ids, token_type_ids=segments, attention_mask=mask)
        logits: Tensor = self.head(hidden.last_hidden_state[:, 0].float())
        return logits

    def trained(self, frozen: int) -> list[nn.Parameter]:
        """Return the parameters that are trained; the others are told to need no gradient."""
        for parameter in self.bert.embeddings.parameters():
            parameter.requires_grad_(False)
        for layer in self.bert.encoder.layer[:frozen]:
            for parameter in layer.parameters():
                parameter.requires_grad_(False)
        # what tells prompt from edit has to be learnt
        self.bert.embeddings.token_type_embeddings.weight.requires_grad_(True)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs that ``write_pairs`` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Pair(prompt, edit, ScopeLabel(label), kind) for prompt, edit, label, kind in rows]


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as JSON."""
    rows = [(p.prompt, p.edit, p.label.value, p.kind) for p in pairs]
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def all_pairs(data: Path, encode: Encode, seed: int = 7) -> list[Pair]:
    """Make the pairs of the benchmarks under ``data`` and of the table, in an order of the seed.

    What a benchmark calls unrelated although the table knows it as the same relation is left out.
    """
    table = read_phrasings()
    wordings = Wordings(table)
    pairs = [
        pair
        for pair in make_pairs(read_facts(data), encode)
        if pair.label is not ScopeLabel.UNRELATED
        or not wordings.may_ask_the_same(pair.prompt, pair.edit)
    ]
    pairs += phrased_pairs(table, encode)
    random.Random(seed).shuffle(pairs)
    return pairs


def _loss(model: PairModel, batch: Batch, smoothing: float) -> tuple[Tensor, float]:
    """Return the mean loss of a batch, and the share of pairs that are told right."""
    arrays = (batch.ids, batch.segments, batch.mask)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*(torch.from_numpy(array) for array in arrays))
    labels = torch.from_numpy(batch.labels)
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    return loss, float((logits.argmax(1) == labels).float().mean())


def _train(rank: int, processes: int, run: Path, base: Path, recipe: Recipe) -> None:
    torch.set_num_threads(1)
    if processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
        store = torch.distributed.FileStore(  # type: ignore[attr-defined]
            str(run / f"meeting-{os.getppid()}"), processes
        )
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    torch.manual_seed(recipe.seed)
    model = PairModel(base)
    parameters = model.trained(recipe.frozen)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=0.01)
    state = run / "state.pt"
    step = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step = int(saved["step"])
    pairs = read_pairs(run / "pairs.json")
    tokenizer = PairTokenizer(base / "tokenizer.json")
    epoch = -1
    batches: Any = iter(())
    per_epoch = len(pairs) // processes // recipe.batch
    model.train()
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[note]}"))
    curve = (run / "curve.jsonl").open("a", encoding="utf-8") if rank == 0 else None
    began, mean = time.monotonic(), [0.0, 0.0, 0]
    with Progress(*columns, disable=rank > 0) as progress:
        task = progress.add_task("pairs", total=recipe.steps, completed=step, note="")
        skip = step % per_epoch
        while step < recipe.steps:
            batch = next(batches, None)
            if batch is None:
                epoch = step // per_epoch
                batches = batches_of(
                    pairs[rank::processes], tokenizer, recipe.batch, recipe.seed + epoch
                )
                for _ in range(skip):
                    next(batches)
                skip = 0
                continue
            factor = min(1.0, (step + 1) / recipe.warmup) * (1 - step / recipe.steps)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * factor
            loss, right = _loss(model, batch, recipe.smoothing)
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
                progress.update(task, completed=step, note=f"right {row['right']:.3f}")
                mean = [0.0, 0.0, 0]
            if rank == 0 and (step % 100 == 0 or step == recipe.steps):
                part = state.with_suffix(".part")
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                            "step": step, "recipe": asdict(recipe)}, part)  # fmt: skip
                part.replace(state)
    if processes > 1:
        distributed.destroy_process_group()


def fine_tune(run: Path, base: Path, recipe: Recipe, processes: int = 1) -> None:
    """Train on ``run/pairs.json`` and leave ``run/state.pt``; goes on from a state that is there.

    ``base`` is the folder of the encoder that is fine-tuned.
    """
    if processes == 1:
        _train(0, 1, run, base, recipe)
    else:
        # Freed memory that goes back to the system is dear to get again (glibc reads these).
        os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
        os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**31 - 1))
        arguments = (processes, run, base, recipe)
        mp.spawn(_train, arguments, nprocs=processes, daemon=True)  # type: ignore[attr-defined,no-untyped-call]


def train(data: Path | None, run: Path, recipe: Recipe, processes: int = 1) -> None:
    """Make the pairs where ``run`` has none yet, and train until ``run/state.pt`` is complete.

    Args:
        data: folder of the benchmarks' files; only needed where there are no pairs yet.
        run: pairs, state and curve; made where it is missing.
        recipe: how to train.
        processes: of one thread each.

    Raises:
        DatasetError: the benchmarks' files cannot be read.
        InvalidInputError: there are no pairs and no ``data`` to make them of.

    """
    run.mkdir(parents=True, exist_ok=True)
    settings = EncoderSettings()
    if not (run / "pairs.json").exists():
        if data is None:
            raise InvalidInputError(
                f"{run} holds no pairs.json yet; give the folder of the benchmarks' files (--data) "
                "to make the pairs of"
            )
        write_pairs(run / "pairs.json", all_pairs(data, open_encoder(settings).encode))
    fine_tune(run, find_checkpoint(settings.model).folder, recipe, processes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; ``memedit scope train`` also finishes."""
    parser = argparse.ArgumentParser(prog="python -m memedit.scope.training.fine_tune")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks' files")
    parser.add_argument("--run", type=Path, required=True, help="pairs, state and curve")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--processes", type=int, default=1, help="of one thread each")
    given = parser.parse_args(arguments)
    # Whoever stops this process stops its helpers: they end with it, but not on a bare SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    train(given.data, given.run, Recipe(steps=given.steps), given.processes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
