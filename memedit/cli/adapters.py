"""The commands on a library of adapters: what is there, take one in, retire it, delete it late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_json_array, print_table
from memedit.errors import MissingResourceError, SettingsError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from memedit.library import StoredAdapter
    from memedit.memory import AdapterRecord, EditMemory

app = typer.Typer(
    help="Adapters that requests may go to: in a library on disk, and known to a memory.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of an adapter: memedit-ID-VERSION.")]
LibraryDir = Annotated[
    Path | None,
    typer.Option("--library", metavar="DIR", help="The library; else that of the settings."),
]
AdapterId = Annotated[
    str | None,
    typer.Option("--name", metavar="ID", help="The adapter is called memedit-ID-VERSION."),
]


@app.command("list")
def list_adapters(
    library: LibraryDir = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """List the adapters that a memory knows, the edits they hold, and where they are deployed.

    Where a library is named, their files are read: 'folder gone' is said of those that are not in
    it, 'damaged' of those whose files are not what was registered. Nobody can load either, and
    their edits are written into prompts.

    Example: memedit adapters list --memory sqlite:///memedit.db
    """
    from memedit.config import Settings
    from memedit.library.inspection import MISSING

    root = library if library is not None else Settings.read(config).adapters.library
    with opened(memory, config) as store:
        view = store.adapters.view()
        rows = [_described(record, store) for record in view.records.values()]
    for row in rows:
        fault = None if root is None else _fault(root, row)
        row["folder_gone"] = None if root is None else fault == MISSING
        row["fault"] = fault
        row["deployed"] = [
            {one.kind.value: one.target}
            for one in view.deployments.values()
            if one.adapter == row["name"]
        ]
    if json:
        print_json_array(rows)
        return
    if not rows:
        typer.echo("no adapters; 'memedit adapters add FOLDER --library DIR' takes one in")
        return
    print_table(
        ("name", "kind", "method", "edits", "base", "stands"),
        (
            [
                row["name"],
                row["kind"],
                row["method"],
                f"{len(row['edits']) - len(row['outdated'])} of {len(row['edits'])} current",
                row["base"][:12],
                _standing(row),
            ]
            for row in rows
        ),
    )


@app.command("add")
def add(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="From 'memedit adapt' or 'bake --as lora'."),
    ],
    name: AdapterId = None,
    library: LibraryDir = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Take an adapter into the library: from the next request on, prompts about its edits go there.

    Its files are looked through first; it must be for the model of adapters.base, where that is
    set. It becomes the next version after all of its name that the library ever had or the memory
    knows, from this library or another; those earlier ones are retired, unless they are deployed.

    A folder of melo holds many LoRA blocks, of which a server loads each by itself: register them
    with 'memedit adapt --method melo --library DIR'.

    Example: memedit adapters add out/capitals --name capitals --library library
    """
    from memedit.cli.registering import check_edits_of_memory, check_served, register
    from memedit.config import Settings

    root = library_of(library, config)
    check_edits_of_memory(folder)
    check_served(folder, Settings.read(config).adapters.base)
    with opened(memory, config) as store:
        stored, older = register(folder, root, name, store)
    if _babbles(stored):
        typer.echo(
            f"{stored.name} did not learn where an answer ends: the server may go on behind the "
            "target; learn it with --set ends=true, as 'memedit adapt --library' does by itself",
            err=True,
        )
    if json:
        print_json({**stored.to_dict(), "retired": older})
        return
    said = f"{len(stored.edits)} edits"
    if stored.silent:
        said = f"{len(stored.edits) - len(stored.silent)} of {said}, which it learned to say"
    typer.echo(f"{stored.name}: {said}; vLLM needs {stored.needs}")
    if older:
        typer.echo(f"retired: {', '.join(older)}")


@app.command("retire")
def retire(
    name: Name,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Send no more requests to an adapter; its edits are written into prompts again.

    Proxies unload it once nobody uses it. Its folder stays until 'memedit adapters prune'.

    Example: memedit adapters retire memedit-capitals-1
    """
    with opened(memory, config) as store:
        record = store.adapters.retire(name)
    if json:
        print_json(record.to_dict())
        return
    typer.echo(f"{name} is retired")


@app.command("prune")
def prune(
    library: LibraryDir = None,
    older_than: Annotated[
        float, typer.Option(min=0, help="Hours since it was retired; servers must be done with it.")
    ] = 24.0,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Delete the folders of adapters that were retired long ago: a day, or --older-than hours.

    'memedit adapters list' says since when each is retired. vLLM ends when a folder
    goes that it has loaded: make sure that every proxy and server has been up since, or was
    restarted.

    Example: memedit adapters prune --older-than 72 --library library
    """
    from memedit.library import Library

    shelf = Library(library_of(library, config))
    if not shelf.root.is_dir():
        raise MissingResourceError(f"there is no library at {shelf.root}; nothing was deleted")
    before = datetime.now(UTC) - timedelta(hours=older_than)
    gone: list[str] = []
    with opened(memory, config) as store:
        for record in store.adapters.view().records.values():
            if record.retired_at is None or record.retired_at > before:
                continue
            try:
                shelf.remove(record.name)
            except MissingResourceError as error:
                if shelf.folder(record.name).exists() or not shelf.gave(record.name):
                    typer.echo(f"{record.name}: {error}", err=True)
                    continue  # it may lie in another library
            store.adapters.forget(record.name)
            gone.append(record.name)
    if json:
        print_json({"deleted": gone})
        return
    typer.echo(f"deleted: {', '.join(gone) or 'nothing'}")


@app.command("fingerprint")
def fingerprint(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="Checkpoint folder.")],
    json: opt.Json = False,
) -> None:
    """Print what adapters know a model by: the value of adapters.base, for 'memedit serve'.

    Example: memedit adapters fingerprint examples/atlas/model
    """
    from memedit.engine.loading import need_models_extra

    need_models_extra()
    from memedit.modeling.checkpoint import Checkpoint

    found = Checkpoint(model).fingerprint
    if json:
        print_json({"model": str(model), "fingerprint": found})
    else:
        typer.echo(found)


def opened(memory: str | None, config: Path | None) -> AbstractContextManager[EditMemory]:
    """Open the memory of the flags and settings, which must be there."""
    from memedit.config import Settings
    from memedit.wiring import open_memory

    return open_memory(settings=Settings.read(config, {"memory": {"url": memory}}), create=False)


def library_of(given: Path | None, config: Path | None) -> Path:
    """Return the library that is given, or that of the settings.

    Raises:
        SettingsError: there is neither.

    """
    from memedit.config import Settings

    found = given if given is not None else Settings.read(config).adapters.library
    if found is None:
        raise SettingsError("no library is named; give --library DIR, or set adapters.library")
    return found


def outdated(record: AdapterRecord, store: EditMemory) -> list[str]:
    """Return which edits of an adapter are no longer live as it holds them."""
    from memedit.types import Status

    found = []
    for ref in record.edits:
        edit = store.get(ref.split("@")[0])
        if edit.ref != ref or edit.status is not Status.LIVE:
            found.append(ref)
    return found


def _described(record: AdapterRecord, store: EditMemory) -> dict[str, Any]:
    return {**record.to_dict(), "outdated": outdated(record, store)}


def _babbles(stored: StoredAdapter) -> bool:
    """Tell whether a LoRA may go on behind its targets: a codebook is at work where prompts end."""
    learned = stored.kind == "adapter" and stored.rank > 0
    if "block" in stored.manifest.get("notes", {}):
        return False  # of MELO: folded as it was registered, which taught the ends
    return learned and not stored.manifest.get("settings", {}).get("ends")


def _fault(root: Path, row: dict[str, Any]) -> str | None:
    """Say in a word what keeps the files of an adapter from being served, if anything does."""
    from memedit.library import Inspection, Library

    found = Inspection(Library(root), row["base"], lambda _: row["sha256"]).fault(row["name"])
    return None if found is None else found.reason


def _standing(row: dict[str, Any]) -> str:
    if row["retired_at"] is not None:
        return f"retired {row['retired_at'][:16]}"
    places = [f"{kind} {name}" for one in row["deployed"] for kind, name in one.items()]
    deployed = [f"deployed: {', '.join(places)}"] if places else []
    fault = "folder gone" if row["folder_gone"] else row["fault"]
    said = [] if fault is None else [fault]
    return "; ".join([*said, *deployed]) or "live"
