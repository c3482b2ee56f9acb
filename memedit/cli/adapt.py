"""``memedit adapt``: learn an adapter that makes edits true beside a checkpoint's weights."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.adapters import AdapterId
from memedit.cli.output import print_json, progress
from memedit.cli.registering import (
    Registering,
    lora_folders,
    more_steps,
    servable,
    teaches_ends,
)
from memedit.cli.taught import Source, settings_of_options
from memedit.errors import SettingsError

if TYPE_CHECKING:
    from memedit.library import StoredAdapter


def adapt(
    method: Annotated[str, typer.Option(help="grace, melo, lora, ...")],
    model: Annotated[Path, typer.Option(metavar="DIR", help="Checkpoint folder.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write; it must not exist yet.")
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Register it there: prompts about its edits go to it. Not with --edits or --url.",
        ),
    ] = None,
    name: AdapterId = None,
    edits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Edits to learn; else the live ones of the memory. Not with --library.",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="Of the file: auto, jsonl, knowedit, zsre, ...")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many edits.")] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Layer that is looked at, from 0; else the middle one, or where the paper of the "
            "method has it (t-patcher, calinet: the last).",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the method, such as training.steps=200, or ends=true: the end of "
            "the answer is taught, too (lora, adalora and melo with --library: unless ends=false). "
            "Repeatable; a wrong name has them listed.",
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
    """Learn an adapter for edits and write it; the model's weights are not changed.

    All edits are learned together, and each is then asked with the adapter at work. A question is
    put as a chat turn where the model has a template, anything else is continued. With --library
    the adapter is taken into a library, and the memory told which of its edits it holds. Requests
    are sent to it by these edits, so they must be in the memory: --library excludes --edits. To
    serve edits of a file, import them first ('memedit import').

    A served LoRA is at work at every token, also behind the new answer, where it may babble on. So
    with --library lora, adalora and melo teach the end of the answer, too, unless you say
    --set ends=false; with --out alone say --set ends=true.

    Example: memedit adapt --method grace --edits wiki.json --model DIR --out out/wiki

    To be served: memedit adapt --method lora --set training.steps=200 --model DIR --library library
    """
    source = Source(edits, format, memory, url, key, config, namespace, limit)
    if out is None and library is None:
        raise SettingsError("say where to write: --out DIR, --library DIR, or both")
    if name is not None and library is None:
        raise SettingsError("--name is the adapter's in a library; give it with --library DIR")
    shelf = None if library is None else Registering(library, name, source)
    settings = settings_of_options(setting or [], layer)
    requests, versions = source.read("learn")
    from memedit.engine.loading import load_model, need_models_extra

    need_models_extra()
    from memedit.adapters.catalog import open_adapter
    from memedit.modeling.forms import AutoForm
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.new_folder import check_new

    if out is not None:
        check_new(out)
    if shelf is not None and teaches_ends(method):
        settings.setdefault("ends", True)
    open_adapter(method, settings)  # a wrong name is said before a model is loaded
    if shelf is not None:
        shelf.check_model(model)
    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    adapter = open_adapter(method, settings, prompt_form=AutoForm.of(loaded.tokenizer))
    if shelf is not None:
        servable(adapter)
    with progress(f"{method}: {len(requests)} edits") as tell:
        learned = adapter.learn(loaded.model, loaded.tokenizer, requests, tell, edits=versions)
    if out is not None:
        adapter.save(out)
    registered: list[StoredAdapter] = []
    if shelf is not None:
        with ExitStack() as stack:
            folders = lora_folders(adapter, out, loaded.model, model, stack)
            # what is not said with the adapter at work is better written into the prompt
            ids = [edit.id for edit in versions or ()]
            silent = {one for one, said in zip(ids, learned.said, strict=True) if not said}
            registered = shelf.register(folders, silent)
    before = sum(learned.losses_before) / len(requests)
    after = sum(learned.losses) / len(requests)
    hosts = sorted(adapter.servable_by)
    if json:
        print_json(
            {
                "folder": None if out is None else str(out),
                "registered": [one.name for one in registered],
                "method": method,
                "base": adapter.base,
                "layer": adapter.layer,
                "ends": adapter.ends,
                "edits": len(requests),
                "said": sum(learned.said),
                "not_said": [
                    request.prompt
                    for request, said in zip(requests, learned.said, strict=True)
                    if not said
                ],
                "steps": learned.steps,
                "loss_before": before,
                "loss_after": after,
                "servable_by": hosts,
            }
        )
        _end(library, registered)
        return
    typer.echo(f"{method}: {sum(learned.said)} of {len(requests)} targets are said")
    typer.echo(f"loss of the new answers: {before:.3f} before, {after:.3f} after")
    for request, said in list(zip(requests, learned.said, strict=True)):
        if not said:
            typer.echo(f"not said: {request.prompt} -> {request.target_new}", err=True)
    if out is not None:
        blocks = " (block by block: --library DIR)" if hasattr(adapter, "fold") else ""
        typer.echo(f"written to {out}, for {', '.join(hosts)}{blocks}")
    for one in registered:
        typer.echo(f"registered as {one.name} in {library}; vLLM needs {one.needs}")
    if library is not None and not registered:
        typer.echo(
            "not registered: it says none of the targets; try more steps: " + more_steps(adapter),
            err=True,
        )
    _end(library, registered)


def _end(library: Path | None, registered: list[StoredAdapter]) -> None:
    """End with 1 where something was to be registered, and nothing was fit for it."""
    if library is not None and not registered:
        raise typer.Exit(1)
