"""``memedit adapt``: learn an adapter that makes edits true beside a checkpoint's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, progress
from memedit.cli.taught import Source, settings_of_options

if TYPE_CHECKING:
    pass


def adapt(
    method: Annotated[str, typer.Option(help="grace, melo, lora, ...")],
    model: Annotated[Path, typer.Option(metavar="DIR", help="Checkpoint folder.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to write; it must not exist yet.")
    ],
    edits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Edits to learn; else the live ones of the memory."),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="Of the file: auto, jsonl, knowedit, zsre, ...")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many edits.")] = None,
    layer: Annotated[
        int | None, typer.Option(min=0, help="Layer that is looked at; else the middle one.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; repeatable."),
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
    put as a chat turn where the model has a template, anything else is continued.

    Example: memedit adapt --method grace --edits wiki.json --model DIR --out adapters/wiki
    """
    source = Source(edits, format, memory, url, key, config, namespace, limit)
    settings = settings_of_options(setting or [], layer)
    requests, versions = source.read("learn")
    from memedit.engine.loading import load_model, need_models_extra

    need_models_extra()
    from memedit.adapters.catalog import open_adapter
    from memedit.modeling.forms import AutoForm
    from memedit.modeling.loading_bar import without_loading_bar
    from memedit.modeling.new_folder import check_new

    check_new(out)
    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    adapter = open_adapter(method, settings, prompt_form=AutoForm.of(loaded.tokenizer))
    with progress(f"{method}: {len(requests)} edits") as tell:
        learned = adapter.learn(loaded.model, loaded.tokenizer, requests, tell, edits=versions)
    adapter.save(out)
    before = sum(learned.losses_before) / len(requests)
    after = sum(learned.losses) / len(requests)
    hosts = sorted(adapter.servable_by)
    if json:
        print_json(
            {
                "folder": str(out),
                "method": method,
                "base": adapter.base,
                "layer": adapter.layer,
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
        return
    typer.echo(f"{method}: {sum(learned.said)} of {len(requests)} targets are said")
    typer.echo(f"loss of the new answers: {before:.3f} before, {after:.3f} after")
    for request, said in list(zip(requests, learned.said, strict=True)):
        if not said:
            typer.echo(f"not said: {request.prompt} -> {request.target_new}", err=True)
    typer.echo(f"written to {out}, for {', '.join(hosts)}")
