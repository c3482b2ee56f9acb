"""``memedit deploy`` and ``undeploy``: one adapter for all traffic of a namespace or to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.adapters import LibraryDir, Name, opened, outdated
from memedit.cli.output import print_json
from memedit.errors import NotFoundError, SettingsError

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.memory import TargetKind

ForNamespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="All traffic of this namespace.")
]
ForModel = Annotated[
    str | None, typer.Option("--model", help="All traffic that asks for this model.")
]


def deploy(
    name: Name,
    namespace: ForNamespace = None,
    model: ForModel = None,
    library: LibraryDir = None,
    author: opt.Author = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Send all traffic of a namespace, or to a model, through a registered adapter.

    Meant for bakes ('memedit bake --as lora --library DIR'), which are good for all prompts. Its
    edits are no longer written into those prompts. With a library its files are looked through
    first. Proxies, and 'memedit route', go to it where adapters.library and adapters.base are set.

    Example: memedit deploy memedit-capitals-1 --namespace default
    """
    from memedit.config import Settings
    from memedit.library import Library

    kind, target = _target(namespace, model)
    root = library if library is not None else Settings.read(config).adapters.library
    with opened(memory, config) as store:
        record = store.adapters.view().records.get(name)
        if record is not None and root is not None:
            Library(root).checked(name, record.base, record.sha256)
        before = store.adapters.deploy(name, kind, target, author=author)
        record = store.adapters.view().records.get(name)
        if record is None:
            raise NotFoundError(f"{name} was taken off the list meanwhile; deploy another one")
        old = outdated(record, store)
        held = store.namespaces()
    if kind.value == "namespace" and not held.get(target):
        there = ", ".join(sorted(name for name, count in held.items() if count)) or "none"
        typer.echo(
            f"careful: no edit is live in the namespace {target!r}, so only requests that name it "
            f"(x-memedit-namespace) are served; namespaces with live edits: {there}",
            err=True,
        )
    if kind.value == "model" and (served := _served(Settings.read(config))) is not None:
        where, models = served
        if target not in models:
            typer.echo(
                f"careful: {where} lists no model {target!r}; it has {', '.join(models)}", err=True
            )
    if json:
        result = {kind.value: target, "adapter": name, "before": before, "outdated": old}
        print_json(result)
        return
    instead = f", not {before}" if before not in (None, name) else ""
    typer.echo(f"{name} serves the {kind.value} {target}{instead}")
    if old:
        typer.echo(
            f"careful: it still says what {len(old)} edits said that have changed since: "
            f"{', '.join(old[:5])}",
            err=True,
        )


def _served(settings: Settings) -> tuple[str, list[str]] | None:
    """Return the upstream and the models that it lists; ``None`` where it does not answer now."""
    import httpx2

    where = settings.serve.upstream.rstrip("/").removesuffix("/v1")
    key = settings.serve.upstream_api_key
    headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
    try:
        reply = httpx2.get(f"{where}/v1/models", headers=headers, timeout=2.0)
        return where, [str(one["id"]) for one in reply.raise_for_status().json()["data"]]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return None


def undeploy(
    namespace: ForNamespace = None,
    model: ForModel = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Undo a deployment: all other prompts get the model's own answers again, from now on.

    The adapter stays registered: prompts about its edits still go to it. When it is retired, too
    ('memedit adapters retire NAME'), its edits are written into prompts again.

    Example: memedit undeploy --namespace default
    """
    kind, target = _target(namespace, model)
    with opened(memory, config) as store:
        before = store.adapters.undeploy(kind, target)
    if json:
        print_json({kind.value: target, "adapter": None, "before": before})
        return
    typer.echo(f"{before} no longer serves the {kind.value} {target}")


def _target(namespace: str | None, model: str | None) -> tuple[TargetKind, str]:
    from memedit.memory import TargetKind

    if namespace is not None and model is None:
        return TargetKind.NAMESPACE, namespace
    if model is not None and namespace is None:
        return TargetKind.MODEL, model
    raise SettingsError("say for what: either --namespace NAME or --model NAME")
