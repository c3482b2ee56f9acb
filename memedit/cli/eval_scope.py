"""``memedit eval scope``: which prompts an edit fires on, measured with all edits in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json_array, print_table
from memedit.errors import UnknownNameError

if TYPE_CHECKING:
    from memedit.evaluation.cases import EditCase
    from memedit.evaluation.scoping import Judged, ScopeRow
    from memedit.memory import EditMemory
    from memedit.scope.base import ScopeClassifier
    from memedit.types import EditRequest

_BATCH = 256


def scope(
    dataset: Annotated[
        str,
        typer.Option(
            metavar="FORMAT:FILE", help="atlasedit or FORMAT:FILE[,FILE...], as for memedit eval."
        ),
    ],
    classifier: Annotated[
        str | None, typer.Option(metavar="NAME", help="Scope classifier; else the settings'.")
    ] = None,
    weights: opt.ScopeWeights = None,
    fill: Annotated[
        int,
        typer.Option(min=0, help="Fill the memory up to so many edits with invented ones."),
    ] = 0,
    false_alarms: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Share of unrelated prompts that may fire where it is chosen."
        ),
    ] = 0.01,
    limit: Annotated[int | None, typer.Option(min=1, help="Cases in all.")] = None,
    seed: Annotated[int, typer.Option(help="Of the invented edits.")] = 0,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Ask only about subjects that pair's training never saw."),
    ] = False,
    aliases: Annotated[
        bool,
        typer.Option(
            "--aliases",
            help="Edits carry the aliases that the file's Subject_Aliasing prompts use; prompts "
            "that do not tell theirs are left out, and counted on stderr.",
        ),
    ] = False,
    dropped: Annotated[
        bool,
        typer.Option("--dropped", help="List on stderr what cleaning leaves out."),
    ] = False,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Measure scope alone: no language model is asked anything.

    Every kind of prompt is counted raw, and cleaned of prompts that may ask the very thing that an
    edit changes; once at the threshold that these files would choose, once at the shipped one.

    Example: memedit eval scope --dataset knowedit:zsre.json --classifier pair --false-alarms 0.01
    """
    from memedit.config import Settings
    from memedit.evaluation.aliases import with_aliases
    from memedit.evaluation.datasets import load_dataset
    from memedit.evaluation.scoping import measure_scope, scope_probes
    from memedit.memory import EditMemory
    from memedit.scope.catalog import open_classifier
    from memedit.scope.encoder import open_encoder

    settings = Settings.read(config, {"scope": {"weights": weights}})
    data = load_dataset(dataset, limit=limit)
    cases = data.cases
    if aliases:
        aliased = with_aliases(cases)
        cases = aliased.cases
        typer.echo(
            f"aliases: told by {aliased.found:,} prompts; {len(aliased.unclear):,} left out",
            err=True,
        )
    edits, probes = scope_probes(cases, _unseen if held_out else lambda case: True)
    encoder = open_encoder(settings.encoder)
    try:
        judge = open_classifier(
            classifier or settings.scope.classifier,
            encoder,
            threshold=settings.scope.threshold,
            weights=settings.scope.weights,
        )
    except UnknownNameError as error:
        raise typer.BadParameter(str(error), param_hint="--classifier") from None
    if judge.note:
        typer.echo(judge.note, err=True)
    if dropped:
        for probe in probes:
            if probe.faulty:
                typer.echo(f"left out: {probe.where}: {probe.text}", err=True)
    invented = invented_edits(edits, fill - len(edits), seed)
    with EditMemory.open("sqlite://", encoder, index=settings.memory.index) as memory:
        places = _fill(memory, [*edits, *invented])
        rows = measure_scope(
            probes,
            lambda texts: _judged(memory, judge, texts, places, settings.scope.candidates),
            edits=len(places),
            shipped=judge.threshold,
            false_alarms=false_alarms,
            max_edits=settings.scope.max_edits,
        )
    if json:
        print_json_array([_shown(row) for row in rows])
        return
    columns = ("kind", "n", "auroc", "recall", "own edit", "false alarms", "threshold", "from",
               "cleaned")  # fmt: skip
    title = f"{dataset}: {len(places):,} edits in memory"
    print_table(columns, [_cells(row) for row in rows], title)


def _unseen(case: EditCase) -> bool:
    from memedit.scope.split import held_out_subject

    return all(held_out_subject(request.subject) for request in case.requests)


def invented_edits(edits: Sequence[EditRequest], n: int, seed: int) -> list[EditRequest]:
    """Make ``n`` edits of the same form about subjects that no edit has.

    Names are put together from the words of real ones, so that they share words with them.
    """
    rng = random.Random(seed)
    known = {edit.subject.casefold() for edit in edits}
    usable = [edit for edit in edits if edit.subject in edit.prompt]
    parts = sorted({word for edit in usable for word in edit.subject.split() if len(word) > 2})
    made: list[EditRequest] = []
    while usable and parts and len(made) < n:
        model = rng.choice(usable)
        count = rng.choice((2, 2, 3))
        name = " ".join(rng.choice(parts) for _ in range(count))
        name = f"{name} {rng.randrange(1000)}" if name.casefold() in known else name
        known.add(name.casefold())
        made.append(
            model.model_copy(
                update={
                    "subject": name,
                    "prompt": model.prompt.replace(model.subject, name),
                    "statement": None,
                    "rephrases": (),
                    "aliases": (),
                }
            )
        )
    return made


def _fill(memory: EditMemory, edits: Sequence[EditRequest]) -> dict[str, int]:
    """Store edits; return the position of each by its id."""
    from rich.console import Console
    from rich.progress import Progress

    places: dict[str, int] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("edits", total=len(edits))
        for first in range(0, len(edits), 1_000):
            part = edits[first : first + 1_000]
            for edit in memory.add(part):
                places[edit.id] = len(places)
            progress.advance(task, len(part))
    return places


def _judged(
    memory: EditMemory,
    classifier: ScopeClassifier,
    texts: Sequence[str],
    places: dict[str, int],
    candidates: int,
) -> list[list[Judged]]:
    from rich.console import Console
    from rich.progress import Progress

    from memedit.evaluation.scoping import Judged
    from memedit.scope.base import ScopeInput
    from memedit.types import DEFAULT_NAMESPACE, QueryText

    now = datetime.now(UTC)
    out: list[list[Judged]] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("prompts", total=len(texts))
        for first in range(0, len(texts), _BATCH):
            part = list(texts[first : first + _BATCH])
            vectors = memory.encoder.encode(part)
            spaces = [(DEFAULT_NAMESPACE,)] * len(part)
            found = memory.candidates(vectors, spaces, candidates, now, texts=part)
            inputs = [ScopeInput(QueryText(t), f) for t, f in zip(part, found, strict=True)]
            for decisions in classifier.classify(inputs):
                out.append(
                    [
                        Judged(places[one.candidate.edit.id], one.direct, one.dependent)
                        for one in decisions
                    ]
                )
            progress.advance(task, len(part))
    return out


def _shown(row: ScopeRow) -> dict[str, Any]:
    return {
        name: round(value, 5) if isinstance(value, float) and name != "threshold" else value
        for name, value in asdict(row).items()
    }


def _cells(row: ScopeRow) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    return (
        row.kind,
        str(row.n),
        number(row.auroc),
        number(row.recall),
        number(row.own_edit),
        number(row.false_alarms),
        f"{row.threshold:.3f}",
        row.threshold_from,
        "yes" if row.cleaned else "",
    )
