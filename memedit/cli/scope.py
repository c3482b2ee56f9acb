"""``memedit scope``: fit the threshold from which an edit fires to one's own traffic."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress

if TYPE_CHECKING:
    from memedit.cli.calibrated import Calibrated
    from memedit.scope.operating import OperatingPoint, Share

SHOWN = 5


class TrainingDevice(StrEnum):
    """Where a classifier is trained."""

    CPU = "cpu"
    CUDA = "cuda"


app = typer.Typer(
    help="Train the scope classifier, and fit the probability from which an edit fires.",
    no_args_is_help=True,
)


@app.callback()
def _scope() -> None:
    """Train the scope classifier, and fit the probability from which an edit fires."""


@app.command("calibrate")
def calibrate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Ordinary prompts, as memedit route --file takes them; JSON Lines may mark some "
            'that should fire with "should_fire": true or "edit": ID.',
        ),
    ],
    false_alarms: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            max=0.99,
            help="Share of ordinary prompts on which an edit may fire; repeatable. Default: 0.01.",
        ),
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(metavar="NAME", help="Scope classifier; else the settings'.")
    ] = None,
    weights: opt.ScopeWeights = None,
    edits: Annotated[
        int,
        typer.Option(
            min=1, help="Where FILE marks none: ask what at most so many edits should fire on."
        ),
    ] = 1_000,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw recall against false alarms: .svg, .png or .pdf."),
    ] = None,
    namespace: opt.Namespaces = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Find the threshold at which ordinary prompts fire as rarely as you accept.

    Prompts take the road of a request up to the decision; no model is asked. What should fire are
    the prompts that FILE marks, else the prompts and rephrases of the memory's own edits;
    rephrases are asked of a copy of the memory that does not know them. In brackets stands where
    95 of 100 such samples of your traffic would put a threshold or a share; the threshold before
    them has no more digits than decide all these prompts alike.

    Example: memedit scope calibrate traffic.jsonl --false-alarms 0.01 --plot recall.svg
    """
    from memedit.cli.calibrated import calibrated
    from memedit.config import Settings
    from memedit.wiring import open_memory

    if plot is not None:
        from memedit.evaluation.plots_scope import check_scope_plot

        check_scope_plot(plot)
    settings = Settings.read(
        config, {"memory": {"url": memory}, "scope": {"classifier": classifier, "weights": weights}}
    )
    rates = sorted(set(false_alarms or [0.01]))
    spaces = tuple(dict.fromkeys(namespace or (settings.memory.namespace,)))
    with (
        open_memory(settings=settings, create=False) as opened,
        progress("judging prompts") as tell,
    ):
        found = calibrated(opened, settings, file, spaces, rates, most_edits=edits, tell=tell)
    if plot is not None:
        from memedit.evaluation.plots_scope import save_scope_plot

        save_scope_plot(found.curves(), rates, len(found.ordinary), plot)
    if json:
        print_json(found.record() | {"file": str(file), "plot": str(plot) if plot else None})
        return
    _print(found)
    if plot is not None:
        typer.echo(f"drawn in {plot}")


@app.command("train")
def train(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Folder of the benchmarks' files: knowedit, zsre, hallueditbench, mquake.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", file_okay=False, help="Folder to write; for scope.weights."),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Pairs, state and curve; a run that was broken off goes on. Default: OUT/run.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Batches in each round. Default: the recipe's 4,000."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The first learns of all pairs, each later one of those that the rounds before "
            "it left in doubt. Default: the recipe's 2.",
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Weights that stand for the first round: what an earlier training wrote.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Pairs of a batch, in each process. Default: the recipe's 48."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Of one thread each.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(help="Which pairs are drawn, and in which order. Default: the recipe's 7."),
    ] = None,
    device: Annotated[
        TrainingDevice, typer.Option(help="Where to compute; a GPU takes one process.")
    ] = TrainingDevice.CPU,
    json: opt.Json = False,
) -> None:
    """Train the classifier 'pair' anew, and choose its threshold on subjects it never saw.

    About two hours on one core; with --start-from half of that. Before each round some five
    minutes go into drawing its pairs, whatever --steps says. A fifth of the subjects is kept out,
    and of the table of phrasings a twelfth; what is measured on them stands in OUT/pair.json, and
    is printed. How the shipped weights were trained: the card in memedit/scope/pair_model.

    Example: memedit scope train --data benchmarks --out my-pair &&
    MEMEDIT_SCOPE__WEIGHTS=my-pair memedit serve --upstream http://127.0.0.1:8000
    """
    from memedit.engine.loading import need_models_extra

    need_models_extra()
    from memedit.scope.training.fine_tune import Recipe
    from memedit.scope.training.finish import finish
    from memedit.scope.training.rounds import begin_with
    from memedit.scope.training.rounds import train as train_pairs

    folder = run if run is not None else out / "run"
    given = {"steps": steps, "rounds": rounds, "batch": batch, "seed": seed}
    recipe = Recipe(**{name: n for name, n in given.items() if n is not None})
    if start_from is not None:
        begin_with(start_from, folder, recipe)
    train_pairs(data, folder, recipe, processes, device.value)
    record = finish(data, folder, out)
    if json:
        print_json(record | {"out": str(out)})
        return
    held_out = record["held_out"]
    rows = [
        (kind, str(row["n"]), f"{row['fires']:.4f}")
        for kind, row in held_out.items()
        if isinstance(row, dict)
    ]
    print_table(("prompts", "n", "fires"), rows, f"held out, threshold {record['threshold']}")
    typer.echo(f"accuracy {held_out['accuracy']}, calibration error "
               f"{held_out['expected_calibration_error']}; written to {out}")  # fmt: skip


def _print(found: Calibrated) -> None:
    kinds = list(found.positives)
    owned = any(point_owned for point_owned in found.own)
    columns = [
        "false alarms accepted",
        "threshold",
        "false alarms",
        *(f"{kind} fire" for kind in kinds),
    ]
    columns += ["right edit"] if owned else []
    rows = []
    for point, own in zip((found.now, *found.points), found.own, strict=True):
        rows.append(
            [
                "in force" if point.accepted is None else f"{point.accepted:.4g}",
                _threshold(point),
                _share(point.false_alarms),
                *(_share(point.fires[kind]) for kind in kinds),
                *([", ".join(f"{value:.3f}" for value in own.values())] if owned else []),
            ]
        )
    print_table(
        columns,
        rows,
        f"{found.classifier}: {len(found.ordinary):,} ordinary prompts, {found.edits:,} live edits",
    )
    nearest: list[dict[str, Any]] = found.nearest(SHOWN)
    if nearest:
        cells = [[f"{one['probability']:.4f}", one["edit"], one["prompt"]] for one in nearest]
        print_table(("p", "edit", "prompt"), cells, "ordinary prompts nearest to firing")
    for note in found.notes:
        typer.echo(f"note: {note}")
    for line in found.advice():
        typer.echo(line)


def _threshold(point: OperatingPoint) -> str:
    if point.threshold is None:
        return "none"
    shown = f"{point.threshold:.6g}"
    return shown if point.spread is None else f"{shown} ({_between(*point.spread)})"


def _share(share: Share) -> str:
    return f"{share.share:.4f} ({_between(share.low, share.high)}), n {share.n:,}"


def _between(low: float, high: float) -> str:
    return f"{low:.4f}-{high:.4f}"
