"""Where ``memedit eval scope --report`` keeps what it measured."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memedit.errors import SettingsError

if TYPE_CHECKING:
    from memedit.evaluation.cases import Dataset
    from memedit.evaluation.plots_scope import Curve


def prepare_report(folder: Path) -> None:
    """Make the folder, and check that a report can be written into it.

    Raises:
        SettingsError: it cannot be made.
        MissingResourceError: what a report is written with is not installed.

    """
    from memedit.evaluation.report.write import need_libraries

    need_libraries()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be made a folder for a report: {error.strerror or error}; choose "
            "another"
        ) from None


def keep_report(
    folder: Path,
    data: Dataset,
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Curve]],
    rates: Sequence[float],
    unrelated: int,
) -> None:
    """Write ``scope.json`` and the report; in the folder of a run as a part of the run's.

    Args:
        folder: where to.
        data: what was asked.
        rows: every row as a record, with its ``classifier``.
        curves: recall against false alarms, by classifier, then by kind of prompt.
        rates: accepted shares of false alarms.
        unrelated: cleaned unrelated prompts.

    """
    from memedit.cli.eval_run import compared_before, versions
    from memedit.evaluation.plots_scope import turns
    from memedit.evaluation.report.run import read_run
    from memedit.evaluation.report.scope import ScopeMeasured, write_scope_report
    from memedit.evaluation.report.write import write_report
    from memedit.evaluation.run_folder import MANIFEST

    found = ScopeMeasured(
        dataset={"name": data.name, "fingerprint": data.fingerprint},
        command=shlex.join(["memedit", *sys.argv[1:]]),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        unrelated=unrelated,
        rates=tuple(rates),
        rows=tuple(rows),
        curves={
            name: {kind: turns(curve) for kind, curve in of.items()} for name, of in curves.items()
        },
    )
    found.save(folder)
    if not (folder / MANIFEST).exists():
        written = write_scope_report(found, folder)
    elif (folder / "rows.json").exists():
        manifest = read_run(folder).manifest
        written = write_report(folder, folder, compared_before(manifest))
    else:
        typer.echo(f"the run in {folder} is not finished: its report will have this, too", err=True)
        return
    typer.echo(f"report: {written}", err=True)
