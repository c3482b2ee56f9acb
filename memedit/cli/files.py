"""Commands on many edits: import from benchmark files and JSONL, export to JSONL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import contradicted, print_json, print_table, progress
from memedit.cli.store import LocalStore, OnConflict, Store, open_store
from memedit.errors import InvalidInputError
from memedit.types import Added, Conflict, Edit, EditRequest

if TYPE_CHECKING:
    from memedit.memory import NewEdit

BATCH = 256
"""Edits sent to a proxy at once; each batch is stored as a whole, or not at all."""
SHOWN = 10


def import_file(
    file: Annotated[Path, typer.Argument(help="The file to read.", exists=True, dir_okay=False)],
    format: Annotated[
        str,
        typer.Option("--format", "-f", help="auto, jsonl, knowedit, zsre, ..."),
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many edits.")] = None,
    rephrases: Annotated[
        bool,
        typer.Option(help="Keep paraphrases; leave them out where they are to measure edits."),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, store none.")] = False,
    on_conflict: opt.OnConflict = None,
    namespace: opt.Namespace = None,
    author: opt.Author = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Import edits from a file; what cannot be read as an edit is counted and named.

    A record's own namespace and author go before those given here.  A memory takes all edits of
    the file or none; a proxy takes them in batches.  Edits that are live already are not stored
    again, so that an import that broke off can simply be repeated.

    Example: memedit import wiki_counterfact.json --format knowedit --namespace wiki
    """
    from dataclasses import replace

    from memedit.config import Settings
    from memedit.memory.formats import read_edits

    fallback = namespace or Settings.read(config).memory.namespace
    read = read_edits(format, file, namespace=fallback, rephrases=rephrases)
    new = [
        edit if edit.author is not None else replace(edit, author=author)
        for edit in read.edits[:limit]
    ]
    stored: dict[str, Edit] = {}
    conflicts: list[Conflict] = []
    if new and not dry_run:
        with open_store(memory, url, key, config) as store, progress(f"importing {file}") as tell:
            for added in _stored(store, new, on_conflict, tell):
                stored.update((edit.ref, edit) for edit in added)
                conflicts += added.conflicts
    skipped = [{"record": one.record, "reason": one.reason} for one in read.skipped]
    if json:
        counts = {"format": read.format, "read": len(new), "stored": len(stored)}
        told = [one.model_dump(mode="json") for one in conflicts]
        print_json({"file": str(file), **counts, "conflicts": told, "skipped": skipped})
        if not new:
            raise typer.Exit(1)
        return
    outcome = "none stored (dry run)" if dry_run else f"{len(stored)} in the memory"
    typer.echo(
        f"{file}: {len(new)} edits read as {read.format}, {outcome}, {len(skipped)} records skipped"
        + (f", {len(conflicts)} contradictions" if conflicts else "")
    )
    if skipped:
        print_table(
            ("record", "why it was skipped"),
            ([item["record"], item["reason"]] for item in skipped[:SHOWN]),
            title=_first_of(skipped),
        )
    if conflicts:
        print_table(
            ("edit", "its prompt", "what it contradicts"),
            (
                [one.edit, stored[one.edit].request.prompt, contradicted(one).strip()]
                for one in conflicts[:SHOWN]
            ),
            title=_first_of(conflicts),
        )
    if not new:
        raise typer.Exit(1)


def _first_of(several: Sequence[Any]) -> str:
    return f"the first {SHOWN} of {len(several)}" if len(several) > SHOWN else ""


def _stored(
    store: Store,
    new: Sequence[NewEdit],
    on_conflict: OnConflict | None,
    tell: Callable[[int, int], None],
) -> Iterator[Added]:
    """Store edits, in a memory all or none, through a proxy batch by batch; yield what was added.

    Edits that are live already are among what was added.
    """
    if isinstance(store, LocalStore):
        added = store.memory.add_edits(
            new, on_duplicate="return", on_conflict=on_conflict, progress=tell
        )
        store.wrote(added)
        yield added
        return
    together: dict[tuple[Any, ...], list[EditRequest]] = {}
    for edit in new:
        where = (edit.namespace, edit.author, edit.valid_from, edit.valid_to)
        together.setdefault(where, []).append(edit.request)
    sent = 0
    for (namespace, author, valid_from, valid_to), requests in together.items():
        for start in range(0, len(requests), BATCH):
            added = store.add(
                requests[start : start + BATCH],
                namespace=namespace,
                author=author,
                valid_from=valid_from,
                valid_to=valid_to,
                on_duplicate="return",
                on_conflict=on_conflict,
            )
            yield added
            sent += len(added)
            tell(sent, len(new))


def export(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write; left out, stdout.", dir_okay=False)
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only this one; else all.")
    ] = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Export the live edits as JSON Lines that import reads back exactly.

    Example: memedit export edits.jsonl --namespace wiki
    """
    from memedit.memory.formats.jsonl import as_line

    with open_store(memory, url, key, config, create=False) as store:
        lines = map(as_line, store.list(namespace=namespace))
        if file is None:
            for line in lines:
                typer.echo(line)
            return
        count = _write(file, lines)
    if json:
        print_json({"file": str(file), "edits": count})
    else:
        typer.echo(f"{count} edits written to {file}")


def _write(file: Path, lines: Iterable[str]) -> int:
    """Write lines to a file that is there whole, or as it was before."""
    count = 0
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as sink:
            for line in lines:
                sink.write(f"{line}\n")
                count += 1
        partial.replace(file)
    except OSError as error:
        raise InvalidInputError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return count
