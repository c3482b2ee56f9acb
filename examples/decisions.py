"""What a decision costs beside one encoding of its prompt: `python -m examples.decisions`.

Edits are invented, or those of a data set; prompts are of three kinds: such that no edit's subject
stands in them, such that one does (in another wording than the edit's, so that the classifier has
to judge), and, beside invented edits, such that describe something by it and ask more (so that the
description is judged, too).  One at a time, and 64 together.  The ways are timed in turns, so that
a machine that drifts drifts for all; a ratio is that of medians of one round, and what is shown is
the median over rounds with the lowest and highest.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console
from rich.progress import track
from rich.table import Table

from memedit.config import Settings
from memedit.evaluation.cases import Metric
from memedit.evaluation.datasets import load_dataset
from memedit.memory import EditMemory
from memedit.routing import RouteQuery, Router
from memedit.scope.encoder import open_encoder
from memedit.types import EditRequest, QueryText
from memedit.wiring import open_router

RELATIONS = ("capital", "head of state", "national anthem", "official language", "largest port")
ORDINARY = (
    "How do I keep basil alive on a windowsill in winter?",
    "Write a haiku about the smell of rain on hot asphalt.",
    "What is the difference between a list and a tuple in Python?",
    "Can you suggest a gentle stretching routine for the morning?",
    "Why does bread dough have to rest before it is baked?",
    "Translate 'good evening, everybody' into Portuguese, please.",
    "Which planets of the solar system have rings?",
    "My printer says it is offline although it is connected. What can I do?",
)
PROMPTS = len(ORDINARY)
TOGETHER = 64


def invented(n: int, seed: int = 5) -> list[EditRequest]:
    """Return n edits about invented countries."""
    rng = random.Random(seed)
    parts = ("va", "lo", "qui", "ren", "dor", "mi", "sta", "bel", "kor", "une", "tra", "gol")
    names: dict[str, None] = {}
    while len(names) < n:
        names.setdefault("".join(rng.choices(parts, k=4)).capitalize() + "ia")
    return [
        EditRequest(
            prompt=f"The {(relation := rng.choice(RELATIONS))} of {name} is",
            subject=name,
            target_new=f"the {relation} {number}",
        )
        for number, name in enumerate(names)
    ]


def read(dataset: str, n: int) -> tuple[list[EditRequest], list[str]]:
    """Return n edits of a data set, without their rephrases, and paraphrases of eight of them."""
    cases = load_dataset(dataset, limit=n).cases
    edits = [
        request.model_copy(update={"rephrases": ()}) for case in cases for request in case.requests
    ]
    rephrased = [
        probe.prompt for case in cases for probe in case.probes if probe.metric is Metric.GENERALITY
    ]
    if len(rephrased) < PROMPTS:
        raise SystemExit(f"{dataset} has {len(rephrased)} paraphrases; expected {PROMPTS} or more")
    return edits, rephrased[:: len(rephrased) // PROMPTS][:PROMPTS]


def median(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a piece of work in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def together(router: Router, texts: Sequence[str]) -> None:
    """Decide about prompts in one batch."""
    router.decide([RouteQuery(QueryText(text)) for text in texts])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a decision costs beside one encoding.")
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--dataset", metavar="FORMAT:FILE", help="its edits, and no invented ones")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=30, help="of each way in a round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    encoder = open_encoder(Settings.read().encoder)
    hops: list[str] = []
    if options.dataset is not None:
        edits, asked = read(options.dataset, options.edits)
    else:
        edits = invented(options.edits)
        rng = random.Random(1)
        names = [rng.choice(edits).subject for _ in range(PROMPTS)]
        asked = [f"Could you tell me {name}'s capital city?" for name in names]
        hops = [f"Who built the largest port of {name}?" for name in names]
    stored: set[str] = set()
    found: dict[str, list[float]] = {}
    console = Console(stderr=True)
    with EditMemory.open("sqlite://", encoder) as memory:
        for at in track(range(0, len(edits), 1_000), "storing", console=console, transient=True):
            added = memory.add(edits[at : at + 1_000], on_duplicate="return")
            stored.update(edit.id for edit in added)
        router = open_router(memory)
        gated = open_router(memory, Settings.read(flags={"scope": {"gate": "names"}}))
        many = [f"{ORDINARY[i % PROMPTS]} ({i})" for i in range(TOGETHER)]
        for turn in track(range(options.rounds + 1), "timing", console=console, transient=True):
            plain, named = ORDINARY[turn % PROMPTS], asked[turn % PROMPTS]
            ways = {
                "ordinary prompt": (router, plain),
                "ordinary prompt, gate 'names'": (gated, plain),
                "prompt that names a subject": (router, named),
            }
            if hops:
                ways["prompt that asks on from a subject"] = (router, hops[turn % PROMPTS])
            row = {}
            for name, (way, text) in ways.items():
                one = median(partial(encoder.encode, [text]), options.repeats)
                row[name] = median(partial(together, way, [text]), options.repeats) / one
            apart = median(lambda: [together(router, [text]) for text in many], 2)
            row[f"{TOGETHER} together: throughput"] = apart / median(
                lambda: together(router, many), 3
            )
            row["one encoding, ms"] = 1e3 * median(
                partial(encoder.encode, [plain]), options.repeats
            )
            if turn:  # the first warms up
                for name, value in row.items():
                    found.setdefault(name, []).append(value)
    shown = {
        name: {"median": statistics.median(values), "low": min(values), "high": max(values)}
        for name, values in found.items()
    }
    if options.json:
        print(json.dumps({"edits": len(stored), **shown}))
        return
    table = Table("", "median", "lowest", "highest", title=f"{len(stored):,} edits; in encodings")
    for name, row in shown.items():
        table.add_row(name, *(f"{row[key]:.2f}" for key in ("median", "low", "high")))
    Console().print(table)


if __name__ == "__main__":
    main()
