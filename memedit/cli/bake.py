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
from memedit.errors import DivergedError, SettingsError

if TYPE_CHECKING:
    from memedit.modeling.delta import WeightDelta


class Shape(StrEnum):
    """What is written."""

    DELTA = "delta"
    LORA = "lora"
    CHECKPOINT = "checkpoint"


_WORSE = 0.05
"""Nats by which the mean loss of the new answers must grow for it to be no rounding."""
_SHOWN = 10
"""Edits that are named when they are not said."""


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

    All edits are optimised together, and each is then asked with the change in force. A question
    is put as a chat turn where the model has a template, anything else is continued. What is
    written can be looked at, added up, merged and shipped with 'memedit delta'. A LoRA that is
    registered in a --library can be deployed.

    Example: memedit bake --method memit --edits wiki.json --model DIR --into deltas/wiki
    """
    if rank is not None and shape is not Shape.LORA:
        raise SettingsError("--rank is the rank of a LoRA; give it with --as lora")
    if library is not None and shape is not Shape.LORA:
        raise SettingsError("--library takes LoRAs; give it with --as lora")
    if into is None and library is None:
        raise SettingsError("say where to write: --into DIR, or of a LoRA --library DIR")
    if name is not None and library is None:
        raise SettingsError("--name is the LoRA's in a library; give it with --library DIR")
    source = Source(edits, format, memory, url, key, config, namespace, limit)
    shelf = None if library is None else Registering(library, name, source)
    settings = settings_of_options(setting or [], layer)
    requests, versions = source.read("bake")
    from memedit.engine.loading import load_model, need_models_extra

    need_models_extra()
    from memedit.editing.catalog import open_editor
    from memedit.editing.outcome import outcome_of
    from memedit.modeling.delta_lora import lora_delta
    from memedit.modeling.fingerprint import model_fingerprint
    from memedit.modeling.forms import AutoForm
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.new_folder import check_new

    if into is not None:
        check_new(into)
    open_editor(method, settings)  # a wrong name is said before a model is loaded
    statistics = statistics_of(method, corpus, texts, cache)
    if shelf is not None:
        shelf.check_model(model)
    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    form = AutoForm.of(loaded.tokenizer)
    editor = open_editor(method, settings, prompt_form=form, sites=cache, **statistics)
    with progress(f"{method}: statistics") as tell:
        editor = editor.resolved(loaded.model, loaded.tokenizer, tell)
    with progress(f"{method}: {len(requests)} edits") as tell:
        delta = editor.edit(loaded.model, loaded.tokenizer, requests, tell)
    rows = [editor.tokens(loaded.tokenizer, request) for request in requests]
    outcome = outcome_of(loaded.model, loaded.tokenizer, rows, delta)
    if outcome.after > outcome.before + _WORSE and not any(outcome.said):
        raise DivergedError(
            f"{method} made the new answers less probable (loss {outcome.before:.3f} before, "
            f"{outcome.after:.3f} after), and says none of them; nothing was written. Try another "
            "method, layer or settings"
        )
    notes = dict(delta.notes)
    if versions is None:  # of a memory the ids say which they are
        notes["requests"] = [
            {"prompt": one.prompt, "subject": one.subject, "target_new": one.target_new}
            for one in requests
        ]
    delta = replace(
        delta, base=model_fingerprint(loaded.model), edits=tuple(versions or ()), notes=notes
    )
    registered: list[str] | None = None
    with ExitStack() as stack:
        folder = into
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="memedit-"))) / "lora"
        extra = _write(delta, shape, model, folder, rank)
        if rank is not None:  # what was cut off may have held an answer
            served = lora_delta(folder, delta)
            outcome = outcome_of(loaded.model, loaded.tokenizer, rows, served)
        if shelf is not None:
            pairs = zip(versions or (), outcome.said, strict=True)
            silent = {one.id for one, said in pairs if not said}
            registered = [one.name for one in shelf.register([folder], silent)]
            extra["registered"] = registered
    not_said = [one.prompt for one, said in zip(requests, outcome.said, strict=True) if not said]
    if json:
        from memedit.modeling.delta_files import delta_record

        print_json(
            {
                "folder": into and str(into),
                "as": shape.value,
                "said": sum(outcome.said),
                "not_said": not_said,
                "loss_before": outcome.before,
                "loss_after": outcome.after,
                **delta_record(delta),
                **extra,
            }
        )
        _end(registered)
        return
    from memedit.evaluation.run_differences import layers_said

    typer.echo(
        f"{method}: {sum(outcome.said)} of {len(requests)} targets are said; "
        f"parameters changed: {len(delta.names())}"
    )
    if editor.layers:
        typer.echo(layers_said({"layers": editor.layers, "from": editor.layer_from}))
    elif "layers" in delta.notes:
        typer.echo(f"layers: {', '.join(map(str, delta.notes['layers']))} (where it found them)")
    typer.echo(f"loss of the new answers: {outcome.before:.3f} before, {outcome.after:.3f} after")
    for prompt in not_said[:_SHOWN]:
        typer.echo(f"not said: {prompt}", err=True)
    if len(not_said) > _SHOWN:
        typer.echo(f"and {len(not_said) - _SHOWN} more are not said", err=True)
    for what, value in extra.items():
        shown = ", ".join(value) or "nothing" if isinstance(value, list) else value
        shown = f"{value:.2g}" if isinstance(value, float) else shown
        typer.echo(f"{what.replace('_', ' ')}: {shown}")
    if into is not None:
        typer.echo(f"written as {shape.value} to {into}")
    _end(registered)


def _end(registered: list[str] | None) -> None:
    """End with 1 where a LoRA was to be registered, and says none of its edits."""
    if registered == []:
        typer.echo("not registered: it says none of the targets", err=True)
        raise typer.Exit(1)


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
