"""``memedit bake``: compute what to add to a checkpoint's weights so that edits hold."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.adapters import AdapterId
from memedit.cli.moments import TEXTS, Corpus, Texts
from memedit.cli.output import print_json, progress
from memedit.cli.registering import Registering
from memedit.cli.taught import Source, settings_of_options
from memedit.errors import SettingsError

if TYPE_CHECKING:
    from memedit.modeling.delta import WeightDelta


class Shape(StrEnum):
    """What is written."""

    DELTA = "delta"
    LORA = "lora"
    CHECKPOINT = "checkpoint"


def bake(
    method: Annotated[str, typer.Option(help="memit, r-rome, alphaedit, emmet, ft-m, ...")],
    model: Annotated[Path, typer.Option(metavar="DIR", help="Checkpoint folder.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write; it must not exist yet.")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Register a LoRA there, to be deployed.")
    ] = None,
    name: AdapterId = None,
    edits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Edits to bake; else the live ones of the memory."),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="Of the file: auto, jsonl, knowedit, zsre, ...")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many edits.")] = None,
    shape: Annotated[
        Shape, typer.Option("--as", help="delta, or ready to serve: lora, checkpoint.")
    ] = Shape.DELTA,
    rank: Annotated[
        int | None,
        typer.Option(min=1, max=512, help="Of a LoRA: cut to this rank; else lose nothing."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=0, help="Layer to edit; else as 'memedit locate' found.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; repeatable."),
    ] = None,
    corpus: Corpus = None,
    texts: Texts = TEXTS,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where 'memedit locate' and 'memedit moments' kept their findings, when they were "
            "given this --cache; else the user's cache folder.",
        ),
    ] = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    namespace: opt.Namespace = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Compute the change of weights that makes edits true, and write it: nothing else is changed.

    All edits are optimised together. A question is put as a chat turn where the model has a
    template, anything else is continued. What is written can be looked at, added up, merged and
    shipped with 'memedit delta'. A LoRA that is registered in a --library can be deployed.

    Example: memedit bake --method memit --edits wiki.json --model DIR --into deltas/wiki
    """
    if rank is not None and shape is not Shape.LORA:
        raise SettingsError("--rank is the rank of a LoRA; give it with --as lora")
    if library is not None and shape is not Shape.LORA:
        raise SettingsError("--library takes LoRAs; give it with --as lora")
    if into is None and library is None:
        raise SettingsError("say where to write: --into DIR, or of a LoRA --library DIR")
    source = Source(edits, format, memory, url, key, config, namespace, limit)
    shelf = None if library is None else Registering(library, name, source)
    settings = settings_of_options(setting or [], layer)
    requests, versions = source.read("bake")
    from memedit.engine.loading import load_model, need_models_extra

    need_models_extra()
    from memedit.editing.catalog import open_editor
    from memedit.modeling.fingerprint import model_fingerprint
    from memedit.modeling.forms import AutoForm
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.new_folder import check_new

    if into is not None:
        check_new(into)
    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    form = AutoForm.of(loaded.tokenizer)
    statistics = statistics_of(method, corpus, texts, cache)
    editor = open_editor(method, settings, prompt_form=form, sites=cache, **statistics)
    with progress(f"{method}: statistics") as tell:
        editor = editor.resolved(loaded.model, loaded.tokenizer, tell)
    with progress(f"{method}: {len(requests)} edits") as tell:
        delta = editor.edit(loaded.model, loaded.tokenizer, requests, tell)
    delta = replace(delta, base=model_fingerprint(loaded.model), edits=tuple(versions or ()))
    with ExitStack() as stack:
        folder = into
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="memedit-"))) / "lora"
        extra = _write(delta, shape, model, folder, rank)
        if shelf is not None:
            extra["registered"] = [one.name for one in shelf.register([folder])]
    if json:
        from memedit.modeling.delta_files import delta_record

        print_json(
            {"folder": into and str(into), "as": shape.value, **delta_record(delta), **extra}
        )
        return
    from memedit.evaluation.run_differences import layers_said

    notes = delta.notes
    typer.echo(f"{method}: {len(requests)} edits, {len(delta.names())} changed parameters")
    if editor.layers:
        typer.echo(layers_said({"layers": editor.layers, "from": editor.layer_from}))
    if "loss_before" in notes:
        typer.echo(
            f"loss of the new answers, as searched: {notes['loss_before']:.3f} before, "
            f"{notes['loss_after']:.3f} after"
        )
    for what, value in extra.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{what.replace('_', ' ')}: {shown}")
    if into is not None:
        typer.echo(f"written as {shape.value} to {into}")


def _write(
    delta: WeightDelta, shape: Shape, model: Path, into: Path, rank: int | None
) -> dict[str, Any]:
    """Write what was asked for; returns what there is to say of it beside the delta."""
    if shape is Shape.DELTA:
        delta.save(into)
        return {}
    if shape is Shape.CHECKPOINT:
        from memedit.modeling.delta_merge import merge

        with progress("merging") as tell:
            done = merge(delta, model, into, progress=tell)
        return {"weight_files_changed": done.rewritten}
    from memedit.modeling.checkpoint import Checkpoint
    from memedit.modeling.delta_lora import to_lora

    with progress("factorising") as tell:
        written = to_lora(
            delta,
            into,
            Checkpoint(model).skeleton,
            rank=rank,
            base_model=str(model),
            progress=tell,
        )
    return {"max_lora_rank": written.max_lora_rank, "relative_error": written.relative_error}


def statistics_of(
    method: str, corpus: Path | None, texts: int, cache: Path | None = None
) -> dict[str, Any]:
    """Return where second moments come from and are kept, for the methods that need them."""
    asked_for = corpus is not None or texts != TEXTS
    if not asked_for and cache is None:
        return {}
    from memedit.editing.catalog import EDITORS
    from memedit.editing.key_value import KeyValueEditor
    from memedit.editing.statistics import Statistics

    if not issubclass(EDITORS.get(method), KeyValueEditor):
        if not asked_for:
            return {}
        raise SettingsError(f"{method} takes no statistics; leave out --corpus and --texts")
    return {"statistics": Statistics(corpus, texts=texts, cache=cache)}
