"""What the commands print: JSON for programs, tables for people, one line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from memedit.types import Conflict, ConflictKind, ConflictOutcome, Edit, Status

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_json_array(values: Sequence[Any]) -> None:
    """Print one JSON array, each of its values on a line of its own."""
    lines = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    typer.echo(f"[\n{lines}\n]" if values else "[]")


def complain(code: str, message: str, *, as_json: bool) -> None:
    """Print an error as one line on stderr."""
    line = " ".join(message.split())
    if as_json:
        typer.echo(json.dumps({"error": {"code": code, "message": line}}), err=True)
    else:
        typer.echo(f"memedit: {line}", err=True)


def console() -> Console:
    """Return a console on stdout; output that goes into a file or a pipe is never cut."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; what the cells hold is text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def print_edits(edits: Sequence[Edit], *, as_json: bool) -> None:
    """Print edits: a JSON array, or a table."""
    if as_json:
        print_json_array([edit.model_dump(mode="json") for edit in edits])
        return
    print_table(
        ("id", "namespace", "status", "statement"),
        ([edit.ref, edit.namespace, standing(edit), edit.statement] for edit in edits),
    )


def print_edit(edit: Edit, *, as_json: bool) -> None:
    """Print one edit with everything that is known of it."""
    if as_json:
        print_json(edit.model_dump(mode="json"))
        return
    known = edit.model_dump(mode="json", exclude_none=True)
    rows = [(name, _cell(value)) for name, value in known.items() if name != "request"]
    rows += [(name, _cell(value)) for name, value in known["request"].items() if value]
    print_table(("field", "value"), rows)


def said(edit: Edit) -> str:
    """Return one line about an edit that was just written."""
    return f"{edit.ref} {standing(edit)}: {edit.statement}"


def contradicted(conflict: Conflict) -> str:
    """Return one line about an older edit that a new one contradicts."""
    why = {
        ConflictKind.SAME_PROMPT: "same prompt",
        ConflictKind.SAME_SUBJECT: "same subject, and as it seems the same relation",
        ConflictKind.INVERSE: "inverse: the same relation asked from its other end",
        ConflictKind.CHAIN: f"chain: together with {', '.join(conflict.through)}",
    }[conflict.kind]
    if conflict.kind in (ConflictKind.INVERSE, ConflictKind.CHAIN) and conflict.probability:
        why += ", as it seems"
    became = {
        ConflictOutcome.KEPT: "kept",
        ConflictOutcome.SUPERSEDED: "superseded",
        ConflictOutcome.RETRACTED: "retracted",
    }[conflict.outcome]
    return f"  contradicts {conflict.against} ({why}): {became}"


def standing(edit: Edit) -> str:
    """Say in words whether an edit speaks now, and until when."""
    now = datetime.now(UTC)
    if edit.status is not Status.LIVE:
        return edit.status.value
    if edit.valid_to is not None and edit.valid_to <= now:
        return f"expired {_moment(edit.valid_to)}"
    if edit.valid_from is not None and now < edit.valid_from:
        return f"not before {_moment(edit.valid_from)}"
    return "live" if edit.valid_to is None else f"live until {_moment(edit.valid_to)}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while long work runs, only where stderr is a terminal.

    Yields:
        What the work calls with (done, in all).

    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _cell(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
