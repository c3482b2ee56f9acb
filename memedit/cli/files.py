"""Commands on many edits: import from benchmark files and JSONL, export to JSONL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress
from memedit.cli.store import open_store

BATCH = 256
"""Edits stored in one transaction: a batch is there as a whole, or not at all."""
SHOWN = 10


def import_file(
    file: Annotated[Path, typer.Argument(help="The file to read.", exists=True, dir_okay=False)],
    format: Annotated[
        str, typer.Option("--format", "-f", help="auto, jsonl, knowedit, zsre, counterfact, mquake")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many edits.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, store none.")] = False,
    namespace: opt.Namespace = None,
    author: opt.Author = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Import edits from a file; what cannot be read as an edit is counted and named.

    Example: memedit import wiki_counterfact.json --format knowedit --namespace wiki
    """
    from memedit.memory.formats import read_edits

    read = read_edits(format, file)
    requests = read.requests[:limit]
    stored = 0
    if not dry_run:
        with (
            open_store(memory, url, key, config) as store,
            progress(f"importing {file.name}", len(requests)) as bar,
        ):
            for start in range(0, len(requests), BATCH):
                batch = requests[start : start + BATCH]
                stored += len(store.add(batch, namespace=namespace, author=author))
                bar.advance(bar.task_ids[0], len(batch))
    skipped = [{"record": str(record), "reason": reason} for record, reason in read.skipped]
    if json:
        print_json({"file": str(file), "read": len(requests), "stored": stored, "skipped": skipped})
        return
    typer.echo(f"{stored} edits stored, {len(requests)} read, {len(skipped)} records skipped")
    if skipped:
        print_table(
            ("record", "why it was skipped"),
            ([item["record"], item["reason"]] for item in skipped[:SHOWN]),
            title=f"the first {SHOWN} of {len(skipped)}" if len(skipped) > SHOWN else "",
        )


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
    raise NotImplementedError
