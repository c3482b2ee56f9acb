"""``memedit adapters without``: an adapter anew, without some of the edits that it holds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.adapters import LibraryDir, library_of, opened
from memedit.cli.output import print_json
from memedit.errors import ConflictError, NotFoundError, SettingsError
from memedit.types import ADAPTER_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memedit.adapters.base import Adapter


def without(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Of an adapter in a library, or the folder of 'adapt --out'."
        ),
    ],
    edits: Annotated[
        list[str], typer.Argument(metavar="EDIT_ID", help="Edits to take out, by their ids.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of a folder: where to write; it must not exist yet."),
    ] = None,
    library: LibraryDir = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Checkpoint folder; needed by lora, adalora and calinet, whose other edits are "
            "learned again.",
        ),
    ] = None,
    dtype: opt.Dtype = "auto",
    device: opt.Device = "auto",
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Take edits out of a stored adapter; what is stored stays as it is, and another is written.

    Of an adapter in a library the next version is registered without them, and the former one
    retired; one that is deployed stays so until the new one is deployed in its place. Of a folder
    another folder is written. The edits themselves stay in the memory ('memedit retract' takes
    them back there), so a prompt about them gets them in its context, or goes to another adapter
    that holds them. The new version keeps the former one's place among adapters of the same edits.

    Example: memedit adapters without memedit-codebook-1 e-0123456789ab --library library

    Of a folder: memedit adapters without out/wiki e-0123456789ab --out out/wiki-2
    """
    if ADAPTER_NAME.fullmatch(adapter) is None:
        if out is None or library is not None or memory is not None:
            raise SettingsError(
                f"{adapter!r} is taken for a folder, as it is no name memedit-ID-VERSION; for a "
                "folder say where to write, --out DIR, and leave out --library and --memory"
            )
        report = _of_folder(Path(adapter), edits, out, model, dtype, device)
    else:
        if out is not None:
            raise SettingsError(
                f"{adapter} is in a library, where its next version is written; leave out --out, "
                "or name its folder: LIBRARY/" + adapter
            )
        root = library_of(library, config)
        report = _of_library(adapter, edits, root, model, dtype, device, memory, config)
    if json:
        print_json(report)
        return
    count, unsaid = len(report["edits"]), report["not_said"]
    what = f"{count} edit{'s' if count != 1 else ''} left"
    typer.echo(f"{report['name'] or report['folder']}: {what}")
    for prompt in unsaid:
        typer.echo(f"not said: {prompt}", err=True)
    if report["retired"]:
        typer.echo(f"retired: {', '.join(report['retired'])}")
    for place in report["deployed"]:
        typer.echo(
            f"careful: {adapter} stays deployed with what was taken out; "
            f"memedit deploy {report['name']} --{place['kind']} {place['target']}",
            err=True,
        )


def _of_folder(
    folder: Path, edits: Sequence[str], out: Path, model: Path | None, dtype: str, device: str
) -> dict[str, Any]:
    from memedit.engine.loading import need_models_extra

    need_models_extra()
    from memedit.modeling.new_folder import check_new

    check_new(out)
    left = _parted(folder, str(folder), edits, model, dtype, device, "delete the folder instead")
    left.save(out)
    return {"folder": str(out), "name": None, **_told(left), "retired": [], "deployed": []}


def _of_library(
    name: str,
    edits: Sequence[str],
    root: Path,
    model: Path | None,
    dtype: str,
    device: str,
    memory: str | None,
    config: Path | None,
) -> dict[str, Any]:
    from memedit.cli.registering import register
    from memedit.engine.loading import need_models_extra
    from memedit.library import Library
    from memedit.memory.adapter_records import split_name

    need_models_extra()
    folder = Library(root).folder(name)
    with opened(memory, config) as store:
        record = store.adapters.view().records.get(name)
    if record is None:
        raise NotFoundError(
            f"no adapter {name!r} is registered in this memory; 'memedit adapters list' shows "
            "those that are"
        )
    if not record.live:
        raise ConflictError(
            f"{name} is retired, and its next version would take the place of a later one; take "
            f"the edits out of the live version, or write a folder: memedit adapters without "
            f"{folder} EDIT_ID... --out DIR"
        )
    instead = f"'memedit adapters retire {name}' has its edits written into prompts again"
    left = _parted(folder, name, edits, model, dtype, device, instead)
    with TemporaryDirectory(prefix="memedit-") as drafts, opened(memory, config) as store:
        draft = left.save(Path(drafts) / "adapter")
        stored, retired = register(draft, root, split_name(name)[0], store, since=record.created_at)
        places = [one for one in store.adapters.view().deployments.values() if one.adapter == name]
    return {
        "folder": str(stored.folder),
        "name": stored.name,
        **_told(left),
        "retired": retired,
        "deployed": [{"kind": one.kind.value, "target": one.target} for one in places],
    }


def _parted(
    folder: Path,
    called: str,
    edits: Sequence[str],
    model: Path | None,
    dtype: str,
    device: str,
    instead: str,
) -> Adapter[Any]:
    """Read an adapter and take edits out of it; ``instead`` says what to do about the last one.

    Raises:
        SettingsError: it does not hold these edits, or no others, its method needs the model, or
            it is a LoRA of which nothing can be taken out.
        MemeditError: it cannot be read, or is for another model.

    """
    from memedit.adapters.files import load_adapter
    from memedit.adapters.learned_together import take_out

    _check_learned(folder, called)
    adapter = load_adapter(folder)
    held = {edit.id: str(edit) for edit in adapter.edits}
    by_name = held | {ref: ref for ref in held.values()}
    if strange := [edit for edit in edits if edit not in by_name]:
        some = ", ".join([*held.values()][:5]) + (", ..." if len(held) > 5 else "")
        raise SettingsError(
            f"{called} holds no edit {', '.join(map(repr, strange))}; it holds {some}"
        )
    ids = list(dict.fromkeys(by_name[edit].split("@")[0] for edit in edits))
    if len(ids) == len(held):
        raise SettingsError(
            f"these are all the edits of {called}, nothing would be left; {instead}"
        )
    if not adapter.together:
        take_out(adapter, ids)
        return adapter
    if model is None:
        raise SettingsError(
            f"the edits of {adapter.name} share what it learned: to take some out, the other "
            f"{len(held) - len(ids)} are learned again; name the model that {called} was learned "
            "for, with --model DIR"
        )
    from memedit.engine.loading import load_model
    from memedit.modeling.forms import AutoForm
    from memedit.modeling.loading_bar import without_loading_bar

    with without_loading_bar():
        loaded = load_model(model, dtype=dtype, device=device)
    adapter.prompt_form = AutoForm.of(loaded.tokenizer)  # as 'memedit adapt' puts its prompts
    take_out(adapter, ids, loaded.model, loaded.tokenizer)
    return adapter


def _check_learned(folder: Path, called: str) -> None:
    """Refuse the LoRA of a weight delta: what its edits added to it cannot be told apart."""
    from memedit.library.manifest import PEFT_CONFIG, read_stored
    from memedit.modeling.delta_lora import FORMAT

    if not (folder / PEFT_CONFIG).is_file():
        return
    stored = read_stored(folder)
    if stored.manifest["format"] != FORMAT:
        return
    if stored.kind == "adapter":
        raise SettingsError(
            f"{called} is a LoRA block of {stored.method}, written for a server; take the edits "
            "out of the folder that 'memedit adapt --out' wrote, or learn it again without them: "
            f"memedit retract EDIT_ID, then memedit adapt --method {stored.method}"
        )
    raise SettingsError(
        f"{called} is a bake of {stored.method}, whose edits cannot be told apart; bake again "
        f"without them: memedit retract EDIT_ID, then memedit bake --method {stored.method} --as "
        "lora"
    )


def _told(adapter: Adapter[Any]) -> dict[str, Any]:
    return {
        "method": adapter.name,
        "edits": [str(edit) for edit in adapter.edits],
        "not_said": [one.request.prompt for one in adapter.held if not one.said],
    }
