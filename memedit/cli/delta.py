"""The commands on saved weight deltas: look at one, add several up, bake one in, ship it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import delta_live
from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress
from memedit.errors import SettingsError

if TYPE_CHECKING:
    from memedit.modeling.checkpoint import Checkpoint
    from memedit.modeling.delta import WeightDelta

Folder = Annotated[Path, typer.Argument(metavar="DELTA", help="Folder of a saved delta.")]
Into = Annotated[
    Path, typer.Option("--into", metavar="DIR", help="Folder to write; it must not exist yet.")
]
Model = Annotated[
    Path, typer.Option("--model", metavar="DIR", help="Checkpoint folder of the unedited model.")
]
AnyBase = Annotated[
    bool,
    typer.Option("--any-base", help="Also where the delta was computed for another model."),
]

app = typer.Typer(
    help="Weight deltas: what baked methods computed, saved with WeightDelta.save.",
    no_args_is_help=True,
)


_SHOWN = 5
"""Edits of a delta that are named."""


@app.command("show")
def show(
    folder: Folder,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The unedited checkpoint: norms relative to it, and is it the base?"
        ),
    ] = None,
    json: opt.Json = False,
) -> None:
    """Show what a delta changes, how much, by which method, for which edits and which model.

    Example: memedit delta show deltas/quendoria --model examples/atlas/model
    """
    delta = _load(folder)
    weights = wrong = None
    if model is not None:
        checkpoint = _checkpoint(model)
        weights = checkpoint.weights(delta.names())
        wrong = delta.check_base(checkpoint.fingerprint, any_base=True)
    from memedit.modeling.delta_files import delta_record, describe

    parameters = [
        {**describe(delta.changes[seen.name]), **seen.as_record()}
        for seen in delta.inspect(weights)
    ]
    if json:
        matches = None if model is None else not wrong
        print_json(
            {
                "folder": str(folder),
                **delta_record(delta),
                "base_matches": matches,
                "parameters": parameters,
            }
        )
        return
    print_table(
        ("parameter", "shape", "kind", "rank", "norm", "of weight", "max abs", "effective rank"),
        (
            [
                one["name"],
                " x ".join(map(str, one["shape"])),
                one["kind"].replace("_", " "),
                "-" if one["rank"] is None else str(one["rank"]),
                f"{one['norm']:.4g}",
                "-" if one["relative_norm"] is None else f"{one['relative_norm']:.2%}",
                f"{one['max_abs']:.3g}",
                f"{one['effective_rank']:.1f}",
            ]
            for one in parameters
        ),
    )
    typer.echo(f"method: {delta.method or 'not recorded'}")
    taught = requests_of(delta.notes)
    named = [*map(str, delta.edits), *(f"{one['prompt']} {one['target_new']}" for one in taught)]
    typer.echo(f"edits: {', '.join(named[:_SHOWN]) or 'none recorded'}")
    if len(named) > _SHOWN:
        typer.echo(f"and {len(named) - _SHOWN} more; --json has all")
    typer.echo(f"base: {delta.base or 'not recorded'}")
    if model is not None:
        typer.echo(wrong or f"{model} is that model")


def requests_of(notes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the edits of no memory that a delta was computed of, those of its parts too."""
    parts = [one.get("notes", {}) for one in notes.get("composed", ())]
    return [*notes.get("requests", ()), *(one for part in parts for one in requests_of(part))]


@app.command("compose")
def compose(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DELTA...", help="Folders of saved deltas, in order.")
    ],
    into: Into,
    any_base: AnyBase = False,
    json: opt.Json = False,
) -> None:
    """Add deltas of one model up into one.

    Changes of low rank stay so, their ranks add up. --any-base is for deltas that were computed
    one after another, each on the model with the earlier ones in it.

    Example: memedit delta compose deltas/quendoria deltas/marovia --into deltas/both
    """
    if len(folders) < 2:
        raise SettingsError("one delta needs no composing; give at least two folders")
    deltas = [_load(folder) for folder in folders]
    from memedit.modeling.delta_compose import compose
    from memedit.modeling.delta_files import delta_record, describe

    whole = compose(deltas, any_base=any_base)
    whole.save(into)
    parameters = {name: describe(change) for name, change in whole.changes.items()}
    if json:
        print_json({"folder": str(into), **delta_record(whole), "parameters": parameters})
        return
    typer.echo(f"{len(deltas)} deltas, {len(parameters)} changed parameters, in {into}")


@app.command("merge")
def merge(
    folder: Folder,
    model: Model,
    into: Into,
    any_base: AnyBase = False,
    json: opt.Json = False,
) -> None:
    """Bake a delta into a copy of a checkpoint, which any server loads like the original.

    The copy has the original's shards and dtypes; the original is not touched, and is what to go
    back to. Needs memory for one shard.

    Example: memedit delta merge deltas/quendoria --model examples/atlas/model --into baked
    """
    delta = _load(folder)
    from memedit.modeling.delta_merge import merge

    with progress("merging") as tell:
        done = merge(delta, model, into, any_base=any_base, progress=tell)
    if json:
        print_json(done.as_record())
        return
    if done.warning:
        typer.echo(f"careful: {done.warning}", err=True)
    typer.echo(
        f"{len(done.changed)} tensors changed in {done.rewritten} of {done.shards} weight files"
    )
    if done.left_out:
        typer.echo(f"not copied, being unedited weights: {', '.join(done.left_out)}")
    typer.echo(f"baked into {done.folder}")


@app.command("lora")
def lora(
    folder: Folder,
    model: Model,
    into: Into,
    rank: Annotated[
        int | None,
        typer.Option(min=1, max=512, help="Cut to this rank; else only what loses nothing."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the factors: float32, bfloat16 or float16.")
    ] = "float32",
    any_base: AnyBase = False,
    json: opt.Json = False,
) -> None:
    """Write a delta as a PEFT LoRA, which a running vLLM loads and chooses per request.

    A change of low rank is exact; a dense one is cut to --rank, and what that loses is printed and
    kept in the folder's manifest.json.

    Example: memedit delta lora deltas/quendoria --model examples/atlas/model --into lora --rank 16
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise SettingsError(f"unknown dtype {dtype!r}; expected float32, bfloat16 or float16")
    delta = _load(folder)
    checkpoint = _checkpoint(model)
    wrong = delta.check_base(checkpoint.fingerprint, any_base=any_base)
    import importlib

    from memedit.modeling.delta_lora import to_lora

    number: Any = getattr(importlib.import_module("torch"), dtype)
    with progress("factorising") as tell:
        written = to_lora(
            delta,
            into,
            checkpoint.skeleton,
            rank=rank,
            dtype=number,
            base_model=str(model),
            progress=tell,
        )
    if json:
        print_json({"folder": str(into), **written.as_record(), "warning": wrong})
        return
    if wrong:
        typer.echo(f"careful: {wrong}", err=True)
    print_table(
        ("parameter", "rank", "lost"),
        ([part.name, str(part.rank), f"{part.relative_error:.2g}"] for part in written.parts),
        title="lost: Frobenius norm of what the LoRA misses, as a share of the change's",
    )
    typer.echo(f"vLLM needs --max-lora-rank {written.max_lora_rank}")
    typer.echo(f"written to {into}")


app.command("apply")(delta_live.apply)
app.command("revert")(delta_live.revert)


def _load(folder: Path) -> WeightDelta:
    from memedit.engine.loading import need_models_extra

    need_models_extra()
    from memedit.modeling.delta import WeightDelta

    return WeightDelta.load(folder)


def _checkpoint(folder: Path) -> Checkpoint:
    from memedit.modeling.checkpoint import Checkpoint

    return Checkpoint(folder)
