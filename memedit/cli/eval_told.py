"""What ``memedit eval`` tells beside its rows: what is measured, how far it is, the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memedit.cli.output import print_table
from memedit.errors import DatasetError, InvalidInputError, MissingResourceError

if TYPE_CHECKING:
    from memedit.evaluation.cases import Dataset
    from memedit.evaluation.rows import Row

Bar = Callable[[int, int], None]


class Count:
    """How many cases are done, and what of that is kept where.

    A case counts once for every method and setting.
    """

    def __init__(self, folder: Path | None) -> None:
        """Begin to count.

        Args:
            folder: where the run is kept; ``None``: nowhere.

        """
        self.folder = folder
        self.done = 0
        self.total: int | None = None

    def around(self, bar: Bar) -> Bar:
        """Return a progress bar that is counted; what an earlier run has done is said at once."""

        def tell(done: int, total: int) -> None:
            if self.total is None and done:
                typer.echo(self._going_on(done, total), err=True)
            self.done, self.total = done, total
            bar(done, total)

        return tell

    def _going_on(self, done: int, total: int) -> str:
        if done == total:
            return f"all {total:,} cases are done already in {self.folder}: none is asked again"
        return f"going on in {self.folder}: {done:,} of {total:,} cases done"

    def interrupted(self) -> str:
        """Say what is kept of a run that is broken off, and how to go on with it."""
        if self.total is None:
            return "interrupted before the first case"
        state = f"interrupted: {self.done:,} of {self.total:,} cases done"
        if self.folder is None:
            return f"{state}, and not kept: --report DIR keeps a run, so that it can go on"
        return f"{state} and kept in {self.folder}; run the same command again to go on"


@contextmanager
def told_when_interrupted(count: Count) -> Iterator[None]:
    """Turn Ctrl-C into one line that says what is kept; the exit code is 130.

    Raises:
        typer.Abort: with that line.

    """
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Abort(count.interrupted()) from None


@contextmanager
def given_by(option: str) -> Iterator[None]:
    """Lay an error to the option whose value it is about: the command line is wrong then.

    Raises:
        typer.BadParameter: what was given cannot be used, or is not there.

    """
    try:
        yield
    except (InvalidInputError, MissingResourceError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def need_cases(data: Dataset) -> None:
    """Refuse a data set of which nothing can be scored.

    Raises:
        DatasetError: says of each file how many records it has, why none is a case, and which
            format would read it.

    """
    if not data.cases:
        why = ". ".join(data.unfit) or "its files hold no records"
        raise DatasetError(f"nothing to measure in {data.name}: {why}")


def print_trained(parts: Sequence[Mapping[str, Any]]) -> None:
    """Print what the measured tasks are to trained parts, as ``trained_parts`` found it."""
    for part in parts:
        told = ", ".join(f"{task} {domain}" for task, domain in part["domains"].items())
        typer.echo(f"  to {part['name']}: {told}", err=True)


def print_layers(layers: Mapping[str, Mapping[str, Any]], methods: Sequence[str]) -> None:
    """Print which layers baked methods edit, and where that comes from."""
    from memedit.evaluation.run_differences import layers_said

    for name in methods:
        if name in layers:
            typer.echo(f"  {name} edits {layers_said(layers[name])}", err=True)


def print_summary(rows: Sequence[Row], manifest: Mapping[str, Any]) -> None:
    """Print a line per method and setting with the main generated scores: where people look."""
    from memedit.evaluation.report.glance import glances
    from memedit.evaluation.report.labels import measure, written
    from memedit.evaluation.report.view import domains_of
    from memedit.evaluation.rows import Scoring
    from memedit.evaluation.runner import SECONDS

    methods = list(dict.fromkeys(row.method for row in rows))
    seconds = {
        (row.setting, row.method): written(SECONDS, row.value)
        for row in rows
        if row.metric == SECONDS and not row.task
    }
    for glance in glances(rows, methods, domains_of(manifest)):
        if glance.scoring != Scoring.GENERATED:
            continue
        several = len(glance.settings) > 1
        scores = [f"{title}\n({tasks})" for title, tasks in glance.head]
        print_table(
            ("method", *(["setting"] if several else []), *scores, measure(SECONDS).title),
            (
                [
                    line.method,
                    *([line.setting] if several else []),
                    *(cell.text if cell else "-" for cell in line.cells),
                    # the setting of a line may name a domain behind the setting itself
                    seconds.get((line.setting.partition(",")[0], line.method), "-"),
                ]
                for line in glance.lines
            ),
            title="Summary: what is generated, plain means over tasks",
        )
        if glance.note:
            typer.echo(glance.note)
