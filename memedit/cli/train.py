"""``memedit train``: what a method needs of its own before it can serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from memedit.cli import options as opt
from memedit.cli import train_parts
from memedit.cli.output import print_json, print_table, progress

app = typer.Typer(help="Train the parts of a method.", no_args_is_help=True)


app.command("remedi")(train_parts.remedi)
app.command("language-patches")(train_parts.language_patches)


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


@app.command("pokemqa")
def pokemqa(
    data: Annotated[
        str,
        typer.Option(
            metavar="FORMAT:FILE",
            help="Edits with their prompts, as 'memedit eval' names data sets.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", file_okay=False, help="Folder to write; for scope.weights."),
    ],
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help='More edits, as PokeMQA\'s own data has them: a JSON list of {"edit": STATEMENT, '
            '"questions": [QUESTION, ...]}.',
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Batches of 24 pairs for the second stage; else 600.")
    ] = None,
    false_alarms: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Share of validation prompts on which an edit may fire wrongly."
        ),
    ] = 0.01,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Train the scope classifier 'pokemqa': a bi-encoder that filters, a cross-encoder that picks.

    A fifth of the subjects is kept out, and what is measured on them stands in OUT/pokemqa.json and
    is printed; thresholds come from a tenth of the others. A run that was broken off goes on.

    Example: memedit train pokemqa --data mquake:mquake.json+knowedit:train.json --out my-pokemqa &&
    memedit eval scope --dataset knowedit:zsre.json --classifier pokemqa --weights my-pokemqa
    """
    from memedit.config import EncoderSettings, Settings
    from memedit.engine.loading import need_models_extra

    settings = Settings.read(config)
    need_models_extra()
    import hashlib
    from contextlib import redirect_stdout
    from dataclasses import replace

    from memedit.cli.pokemqa_data import facts_of
    from memedit.evaluation.datasets import load_dataset
    from memedit.scope.checkpoint import find_checkpoint
    from memedit.scope.encoder import open_encoder
    from memedit.scope.training.edit_questions import read_edit_questions
    from memedit.scope.training.pokemqa import PokemqaRecipe, train_pokemqa

    recipe = PokemqaRecipe(false_alarms=false_alarms)
    if steps is not None:
        recipe = replace(recipe, pairs=replace(recipe.pairs, steps=steps))
    loaded = load_dataset(data, split="train")
    facts = facts_of(loaded.cases)
    files = [{"format": one.format, "file": one.file, "sha256": one.sha256} for one in loaded.files]
    if questions is not None:
        read = read_edit_questions(questions)
        facts += read.facts
        digest = hashlib.sha256(questions.read_bytes()).hexdigest()
        files.append({"format": "edit-questions", "file": questions.name, "sha256": digest})
        if read.unclear:
            typer.echo(
                f"{questions}: {read.unclear} edits without a clear subject left out", err=True
            )
    base = find_checkpoint(EncoderSettings().model)
    # the bar of the second stage goes where the others go: standard output is the record's
    with redirect_stdout(sys.stderr), progress("encoding") as tell:
        record = train_pokemqa(
            facts, files, out, open_encoder(settings.encoder), base, recipe, tell
        )
    if json:
        print_json(record | {"out": str(out)})
        return
    edits = record["edits"]
    typer.echo(
        f"{edits['train']:,} edits of {len(files)} files, {edits['validation']:,} more to choose "
        f"thresholds by: {record['threshold']}; {edits['held_out']:,} of held-out subjects"
    )
    rows = [
        (kind, str(row["n"]), f"{row['fires']:.4f}", f"{row.get('right_edit', '')}")
        for kind, row in record["held_out"].items()
    ]
    print_table(("prompts", "n", "fires", "right edit"), rows, "held-out subjects")
    typer.echo(f"written to {out}")
