"""Commands on many edits: import from benchmark files and JSONL, export to JSONL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress
from memedit.cli.store import LocalStore, OnConflict, Store, open_store
from memedit.errors import InvalidInputError
from memedit.types import EditRequest

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
    stored = conflicts = 0
    if new and not dry_run:
        with open_store(memory, url, key, config) as store, progress(f"importing {file}") as tell:
            stored, conflicts = _store_all(store, new, on_conflict, tell)
    skipped = [{"record": one.record, "reason": one.reason} for one in read.skipped]
    if json:
        counts = {"format": read.format, "read": len(new), "stored": stored, "conflicts": conflicts}
        print_json({"file": str(file), **counts, "skipped": skipped})
        if not new:
            raise typer.Exit(1)
        return
    outcome = "none stored (dry run)" if dry_run else f"{stored} in the memory"
    typer.echo(
        f"{file}: {len(new)} edits read as {read.format}, {outcome}, {len(skipped)} records skipped"
        + (f", {conflicts} contradictions" if conflicts else "")
    )
    if skipped:
        print_table(
            ("record", "why it was skipped"),
            ([item["record"], item["reason"]] for item in skipped[:SHOWN]),
            title=f"the first {SHOWN} of {len(skipped)}" if len(skipped) > SHOWN else "",
        )
    if not new:
        raise typer.Exit(1)


def _store_all(
    store: Store,
    new: Sequence[NewEdit],
    on_conflict: OnConflict | None,
    tell: Callable[[int, int], None],
) -> tuple[int, int]:
    """Store edits: in a memory all or none, through a proxy batch by batch.

    Returns:
        How many of them are in the memory now, and how many contradictions there were.

    """
    if isinstance(store, LocalStore):
        there = store.memory.add_edits(
            new, on_duplicate="return", on_conflict=on_conflict, progress=tell
        )
        store.wrote(there)
        return len({edit.ref for edit in there}), len(there.conflicts)
    together: dict[tuple[Any, ...], list[EditRequest]] = {}
    for edit in new:
        where = (edit.namespace, edit.author, edit.valid_from, edit.valid_to)
        together.setdefault(where, []).append(edit.request)
    sent, known, conflicts = 0, set[str](), 0
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
            conflicts += len(added.conflicts)
            known.update(edit.ref for edit in added)
            sent += len(added)
            tell(sent, len(new))
    return len(known), conflicts


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
