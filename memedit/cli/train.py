"""``memedit train``: what a method needs of its own before it can serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, progress

app = typer.Typer(help="Train the parts of a method.", no_args_is_help=True)


@app.callback()
def _train() -> None:
    """Train the parts of a method."""


@app.command("serac")
def serac(
    data: Annotated[
        str,
        typer.Option(
            metavar="FORMAT:FILE",
            help="What to learn from, as 'memedit eval' names data sets; atlasedit is its train "
            "split.",
        ),
    ],
    base: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Checkpoint of whose layers the counterfactual model is made."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", file_okay=False, help="Folder to write; for serac.folder."),
    ],
    layers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Layers of the base that are kept; else half. All: it is small already."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches of 48 rows.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.0, help="Learning rate of AdamW.")] = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Train SERAC: a small model that answers from an edit, and the classifier of its scope.

    A fifth of the subjects is kept out; what comes of them is printed and stands in
    OUT/manifest.json, beside the files that were trained on. A run that was broken off goes on.

    Example: memedit train serac --data knowedit:train.json --base ./checkpoint --out serac
    """
    from memedit.config import Settings
    from memedit.engine.loading import need_models_extra

    settings = Settings.read(config)
    need_models_extra()
    from dataclasses import replace

    from memedit.cli.serac_data import taught_of
    from memedit.evaluation.datasets import load_dataset
    from memedit.scope.encoder import open_encoder
    from memedit.serac.counterfactual import Recipe
    from memedit.serac.train import train_serac

    recipe = replace(Recipe(), layers=layers)
    recipe = recipe if steps is None else replace(recipe, steps=steps)
    recipe = recipe if rate is None else replace(recipe, rate=rate)
    loaded = load_dataset(data, split="train")
    taught = taught_of(loaded.cases)
    files = [{"format": one.format, "file": one.file, "sha256": one.sha256} for one in loaded.files]
    encoder = open_encoder(settings.encoder)
    with progress("training steps") as tell:
        record = train_serac(taught, files, base, out, encoder, recipe, tell)
    if json:
        print_json(record | {"out": str(out)})
        return
    answers, scope = record["held_out"]["answers"], record["held_out"]["scope"]
    typer.echo(
        f"{record['parameters']:,} parameters ({record['base']['parameters']:,} in the base), "
        f"{record['edits']:,} edits of {len(files)} files"
    )
    typer.echo(f"held-out subjects: {answers['exact']} of {answers['n']} answers are the edit's")
    for name, row in scope.items():
        typer.echo(f"  {name.replace('_', ' ')}: {row['fires']} of {row['n']} prompts fire")
    typer.echo(f"written to {out}")
