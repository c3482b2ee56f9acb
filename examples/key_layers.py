"""Which layer's keys tell edits apart: `python -m examples.key_layers --split train --limit 201`.

GRACE's key is what a layer's MLP takes in at a prompt's last token, MELO's what the layer gives
out there.  For each layer, with the keys of all edits laid down and without learning anything: how
many rephrases lie nearest to the key of their own edit (what the best radius could reach), and how
many lie within the radius at which that share of the unrelated prompts stays outside.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from memedit.adapters.grading import parts
from memedit.cli.eval_parts import open_model
from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.local import LocalModel
from memedit.evaluation.rivals import LiveEdits
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import Places, catch
from memedit.modeling.tokens import Tokens, pad

TASKS = ("zsre", "wiki_counterfact", "wiki_recent")
KEYS = {"grace": "input", "melo": "output"}
OUTSIDE = (0.99, 0.95, 0.9)
ROWS = 64


def keys(model: LocalModel, prompts: Sequence[str]) -> dict[tuple[str, int], Tensor]:
    """Return for each method and layer the keys of prompts, float32 [n, d]."""
    shape = architecture(model.model)
    found: dict[tuple[str, int], Tensor] = {}
    rows = [Tokens(model.encoded(prompt).ids, ()) for prompt in prompts]
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].prompt))
    for part in parts(order, ROWS):
        batch = pad([rows[place] for place in part], model.tokenizer)
        ends = Places.one_per_row(batch.prompt_last)
        with ExitStack() as stack, torch.no_grad():
            caught = {}
            for number in range(len(shape.layers)):
                layer = shape.layer(number)
                caught["grace", number] = stack.enter_context(catch(layer.mlp, "input", ends))
                caught["melo", number] = stack.enter_context(catch(layer.block, "output", ends))
            model.model(**batch.inputs(model.model))
        for key, states in caught.items():
            whole = found.setdefault(key, torch.zeros(len(rows), states.last.shape[1]))
            whole[part] = states.last.float().cpu()
    return found


def table_of(model: LocalModel, cases: Sequence[EditCase]) -> Table:
    """Return a line per method and layer."""
    edits = [case.requests[0] for case in cases]
    live = LiveEdits(edits)
    asked = [(owner, probe) for owner, case in enumerate(cases) for probe in case.probes]
    rephrased = [(o, p.prompt) for o, p in asked if p.metric is Metric.GENERALITY]
    unrelated = [
        probe.prompt
        for owner, probe in asked
        if probe.metric is Metric.LOCALITY and not live.asked_by(probe, cases[owner].requests)
    ]
    found = keys(model, [*(one.prompt for one in edits), *(p for _, p in rephrased), *unrelated])
    own = torch.tensor([owner for owner, _ in rephrased])
    table = Table("keys", "layer", "nearest", *(f"{share} outside: radius" for share in OUTSIDE))
    for (method, layer), whole in found.items():
        first, last = len(edits), len(edits) + len(rephrased)
        book, asks, others = whole[:first], whole[first:last], whole[last:]
        norm = book.norm(dim=1).mean()
        distance, nearest = (torch.cdist(asks, book) / norm).min(1)
        right = nearest == own
        apart = (torch.cdist(others, book) / norm).min(1).values
        cells = []
        for share in OUTSIDE:
            radius = float(apart.quantile(1 - share))
            within = float((right & (distance < radius)).float().mean())
            cells.append(f"{within:.2f} at {radius:.2f}")
        table.add_row(method, str(layer), f"{float(right.float().mean()):.2f}", *cells)
    table.title = f"{len(edits)} edits, {len(rephrased)} rephrases, {len(unrelated)} unrelated"
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, default=Path("examples/atlas/model"))
    add("--split", default="train", choices=("train", "test"))
    add("--limit", type=int, default=201, help="edits")
    given = parser.parse_args(arguments)
    data = load_dataset("atlasedit", split=given.split, limit=given.limit, tasks=TASKS)
    model = open_model(given.model, form="auto", dtype="float32", device="cpu")
    Console(width=120).print(table_of(model, data.cases))


if __name__ == "__main__":
    main()
