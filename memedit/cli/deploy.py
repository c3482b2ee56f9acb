"""``memedit deploy`` and ``undeploy``: one adapter for all traffic of a namespace or to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.adapters import LibraryDir, Name, opened, outdated
from memedit.cli.output import print_json
from memedit.errors import NotFoundError, SettingsError

if TYPE_CHECKING:
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
    edits are no longer written into those prompts, and are again the moment it is undone. With a
    library its files are looked through first.

    Example: memedit deploy memedit-capitals-1 --namespace default
    """
    from memedit.config import Settings
    from memedit.library import Library

    kind, target = _target(namespace, model)
    root = library if library is not None else Settings.read(config).adapters.library
    with opened(memory, config) as store:
        record = store.adapters.view().records.get(name)
        if record is not None and root is not None:
            Library(root).checked(name, record.base)
        before = store.adapters.deploy(name, kind, target, author=author)
        record = store.adapters.view().records.get(name)
        if record is None:
            raise NotFoundError(f"{name} was taken off the list meanwhile; deploy another one")
        old = outdated(record, store)
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


def undeploy(
    namespace: ForNamespace = None,
    model: ForModel = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Undo a deployment: from the next request on the model answers as it was.

    The adapter stays registered: prompts about its edits still go to it, until it is retired.

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
