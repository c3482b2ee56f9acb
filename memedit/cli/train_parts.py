"""``memedit train remedi`` and ``language-patches``: what these adapters have for all edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, progress

if TYPE_CHECKING:
    from memedit.adapters.part_training import Example
    from memedit.adapters.trained_parts import TrainedPart

Data = Annotated[
    str,
    typer.Option(
        metavar="FORMAT:FILE",
        help="What to learn from, as 'memedit eval' names data sets; atlasedit is its train split.",
    ),
]
Model = Annotated[Path, typer.Option(metavar="DIR", help="Checkpoint folder.")]
Out = Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Folder to write.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many edits.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches; else the method's own.")]
Layer = Annotated[int | None, typer.Option(min=0, help="Layer; else the method's own.")]


def remedi(
    data: Data,
    model: Model,
    out: Out,
    limit: Limit = None,
    layer: Layer = None,
    steps: Steps = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    json: opt.Json = False,
) -> None:
    """Train REMEDI's map from new answers to directions; for 'remedi' with map=OUT.

    A fifth of the subjects is kept out; how many of their edits are said with the map's directions
    is printed and stands in OUT/manifest.json.

    Example: memedit train remedi --data knowedit:train.json --model ./checkpoint --out remedi
    """
    examples, files = _examples(data, limit)
    loaded = _loaded(model, dtype, device, out)
    from memedit.adapters.part_training import train_remedi
    from memedit.adapters.remedi_map import MapRecipe
    from memedit.modeling.forms import AutoForm

    recipe = MapRecipe() if steps is None else replace(MapRecipe(), steps=steps)
    with progress("training steps") as tell:
        part = train_remedi(
            loaded.model,
            loaded.tokenizer,
            examples,
            files,
            tell,
            layer=layer,
            recipe=recipe,
            form=AutoForm.of(loaded.tokenizer),
        )
    if _written(part, out, json):
        return
    held_out = part.record["held_out"]
    typer.echo(
        f"held-out subjects: {held_out['said']} of {held_out['n']} targets are said "
        f"({held_out['said_before']} without)"
    )
    typer.echo(f"written to {out}")


def language_patches(
    data: Data,
    model: Model,
    out: Out,
    limit: Limit = None,
    layer: Layer = None,
    steps: Steps = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    json: opt.Json = False,
) -> None:
    """Train the gate of Language Patches; for 'language-patches' with gate=OUT.

    It learns from other wordings of edits and from prompts out of their scope. A fifth of the
    subjects is kept out; on which of their prompts the gate opens is printed and stands in
    OUT/manifest.json.

    Example: memedit train language-patches --data knowedit:train.json --model ./checkpoint
    --out gate
    """
    examples, files = _examples(data, limit)
    loaded = _loaded(model, dtype, device, out)
    from memedit.adapters.part_training import train_language_patches
    from memedit.modeling.forms import AutoForm

    with progress("training steps") as tell:
        part = train_language_patches(
            loaded.model,
            loaded.tokenizer,
            examples,
            files,
            tell,
            layer=layer,
            **({} if steps is None else {"steps": steps}),
            form=AutoForm.of(loaded.tokenizer),
        )
    if _written(part, out, json):
        return
    typer.echo("held-out subjects: the gate opens on")
    for kind, row in part.record["held_out"].items():
        typer.echo(f"  {kind}: {row['opens']} of {row['n']} prompts")
    typer.echo(f"written to {out}")


def _examples(data: str, limit: int | None) -> tuple[list[Example], list[dict[str, Any]]]:
    """Read a data set's edits with their prompts, and say which files they come from."""
    from memedit.engine.loading import need_models_extra

    need_models_extra()
    from memedit.adapters.part_training import Example
    from memedit.cli.serac_data import taught_of
    from memedit.evaluation.datasets import load_dataset

    loaded = load_dataset(data, split="train")
    files = [{"format": one.format, "file": one.file, "sha256": one.sha256} for one in loaded.files]
    taught: Sequence[Any] = taught_of(loaded.cases)[:limit]
    return [
        Example(
            one.request,
            tuple(asked.prompt for asked in one.asked[1:]),
            one.unrelated,
            one.held_out,
        )
        for one in taught
    ], files


def _loaded(model: Path, dtype: str, device: str, out: Path) -> Any:
    from memedit.engine.loading import load_model
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.new_folder import check_new

    check_new(out)
    with without_loading_bar():
        return load_model(model, dtype=dtype, device=device)


def _written(part: TrainedPart, out: Path, json: bool) -> bool:
    """Write a part; tells whether its record was printed as JSON."""
    from memedit.adapters.trained_parts import save_part

    save_part(part, out)
    if json:
        print_json({"out": str(out), "layer": part.layer, "base": part.base, **part.record})
    return json
