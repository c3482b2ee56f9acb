"""What an edit costs alone and in a batch: `python -m examples.bake_speed --plot cost.svg`.

The same edits are baked one at a time, each into the unedited model, and in batches of several
sizes, in one process: as many edits as the largest batch has go through every size, forth and back
in turns, so that where there are several such pieces a machine that drifts drifts for all (with
`--sample` the smaller sizes get some of the edits only, evenly spaced: times are per edit).  What a
method settles once per model (layers, contexts, statistics) is settled before and not counted.
Memory is the most that a batch took beyond what the process held before it (see
`memedit.evaluation.spending`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from memedit.cli.bake import statistics_of
from memedit.cli.moments import TEXTS
from memedit.cli.taught import settings_of_options
from memedit.editing.base import Editor
from memedit.editing.catalog import open_editor
from memedit.engine.loading import load_model
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.protocols import Cost
from memedit.evaluation.spending import settle, spent
from memedit.modeling.forms import AutoForm
from memedit.types import EditRequest

TASKS = ("zsre", "wiki_counterfact", "wiki_recent")


@dataclass
class Size:
    """What batches of one size cost."""

    batch: int
    edits: int = 0
    seconds: float = 0.0
    added_bytes: int = 0
    learned: int = 0
    """Edits whose search ended under its aim (`search.enough`)."""
    each: list[float] = field(default_factory=list)
    """Seconds of every call."""

    @property
    def per_edit(self) -> float:
        """Return seconds per edit."""
        return self.seconds / self.edits


def edits_of(data: str, split: str, count: int) -> list[EditRequest]:
    """Return edits with different prompts, their subjects in them, in the data's own order."""
    cases = load_dataset(data, split=split, tasks=list(TASKS)).cases
    requests = {
        request.prompt: request
        for case in cases
        for request in case.requests
        if request.subject in request.prompt
    }
    found = list(requests.values())[:count]
    if len(found) < count:
        raise SystemExit(f"--edits {count}: {data} has {len(found)} that name their subject")
    return found


def measure(
    editor: Editor[Any],
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    sizes: Sequence[int],
    sample: int | None = None,
) -> list[Size]:
    """Bake all requests in batches of every size; the largest size is the length of a piece.

    Of a piece the smaller sizes get ``sample`` edits at most, evenly spaced, or all.
    """
    found = [Size(size) for size in sizes]
    piece = max(sizes)
    work = sum(
        len(_spaced(requests[at : at + piece], piece if size == piece else sample or piece))
        for size in sizes
        for at in range(0, len(requests), piece)
    )
    device = next(model.parameters()).device
    editor.edit(model, tokenizer, requests[: min(2, len(requests))])  # warms up, is not counted
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("baking", total=work)
        for number, at in enumerate(range(0, len(requests), piece)):
            part = requests[at : at + piece]
            order = found if number % 2 == 0 else found[::-1]
            for size in order:
                own = _spaced(part, len(part) if size.batch == piece else sample or len(part))
                for first in range(0, len(own), size.batch):
                    batch = own[first : first + size.batch]
                    settle()
                    cost = Cost()
                    with spent(cost, len(batch), device):
                        delta = editor.edit(model, tokenizer, batch)
                    size.edits += len(batch)
                    size.seconds += cost.seconds
                    size.each.append(cost.seconds)
                    size.added_bytes = max(size.added_bytes, cost.added_bytes or 0)
                    size.learned += int(delta.notes.get("learned", 0))
                    bar.advance(task, len(batch))
    return found


def _spaced(edits: Sequence[EditRequest], count: int) -> list[EditRequest]:
    """Return at most so many, evenly spaced."""
    count = min(count, len(edits))
    return [edits[n * len(edits) // count] for n in range(count)]


def draw(found: Sequence[Size], method: str, file: Path) -> None:
    """Draw seconds per edit, and memory, against the batch size."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [size.batch for size in found]
    left.plot(sizes, [size.per_edit for size in found], marker="o", color="#1b6ca8")
    left.set(xscale="log", yscale="log", xlabel="edits in a batch", ylabel="seconds per edit")
    left.set_title(f"{method}: time")
    right.plot(sizes, [size.added_bytes / 2**20 for size in found], marker="o", color="#a8501b")
    right.set(xscale="log", xlabel="edits in a batch", ylabel="MiB beyond what was held")
    right.set_title("most memory")
    for axes in (left, right):
        axes.set_xticks(sizes)
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.yaxis.set_major_formatter(plain)
    left.yaxis.set_minor_formatter(plain)
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What an edit costs alone and in a batch.")
    parser.add_argument("--model", type=Path, default=Path("examples/atlas/model"))
    parser.add_argument("--method", default="memit")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--texts", type=int, default=TEXTS, help="for statistics")
    parser.add_argument("--data", default="atlasedit")
    parser.add_argument("--split", default="test")
    parser.add_argument("--edits", type=int, default=1_000)
    parser.add_argument("--sizes", default="1,10,100,1000")
    parser.add_argument(
        "--sample",
        type=int,
        help="edits, evenly spaced, that sizes under the largest get; else all",
    )
    parser.add_argument("--dtype", default="auto", help="auto is float32 on a CPU")
    parser.add_argument("--threads", type=int, default=0, help="else as PyTorch chooses")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        sizes = sorted({int(text) for text in options.sizes.split(",")})
    except ValueError:
        parser.error(f"--sizes {options.sizes!r}: expected numbers, such as 1,10,100")
    if sizes[0] < 1 or sizes[-1] > options.edits:
        parser.error(f"--sizes {options.sizes!r}: expected 1 to {options.edits} (--edits)")
    if options.sample is not None and options.sample < 1:
        parser.error(f"--sample {options.sample}: expected at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    requests = edits_of(options.data, options.split, options.edits)
    loaded = load_model(options.model, dtype=options.dtype, device="auto")
    editor = open_editor(
        options.method,
        settings_of_options(options.set, None),
        prompt_form=AutoForm.of(loaded.tokenizer),
        **statistics_of(options.method, None, options.texts),
    )
    began = time.perf_counter()
    editor = editor.resolved(loaded.model, loaded.tokenizer)
    settled = time.perf_counter() - began
    found = measure(editor, loaded.model, loaded.tokenizer, requests, sizes, options.sample)
    if options.plot is not None:
        draw(found, options.method, options.plot)
    if options.json:
        rows = [{**asdict(size), "per_edit": size.per_edit} for size in found]
        print(json.dumps({"method": options.method, "settled_seconds": settled, "sizes": rows}))
        return
    columns = ("in a batch", "edits", "s per edit", "of the first", "s in all", "MiB", "learned")
    table = Table(*columns, title=f"{options.method}, {torch.get_num_threads()} threads")
    for size in found:
        table.add_row(
            f"{size.batch:,}",
            f"{size.edits:,}",
            f"{size.per_edit:.3f}",
            f"{size.per_edit / found[0].per_edit:.3f}",
            f"{size.seconds:.1f}",
            f"{size.added_bytes / 2**20:.0f}",
            f"{size.learned:,}",
        )
    Console().print(table)
    Console().print(f"layers, contexts and statistics, once per model: {settled:.1f} s")


if __name__ == "__main__":
    main()
