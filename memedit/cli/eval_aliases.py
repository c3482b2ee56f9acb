"""The aliases that the edits of a measured data set carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from memedit.evaluation.cases import EditCase

AliasesFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Edits carry their subject's aliases as this JSON file lists them: "
        '{"NAME": ["ALIAS", ...]}; of AtlasEdit: examples/atlas/data/aliases.json.',
    ),
]


def told_by_prompts(cases: Sequence[EditCase]) -> tuple[EditCase, ...]:
    """Give edits the aliases that their prompts use; say on stderr what does not tell any."""
    from memedit.evaluation.aliases import with_aliases

    aliased = with_aliases(cases)
    typer.echo(
        f"aliases: told by {aliased.found:,} prompts; {len(aliased.unclear):,} left out", err=True
    )
    return aliased.cases


def listed_in(file: Path, cases: Sequence[EditCase]) -> tuple[EditCase, ...]:
    """Give edits the aliases that a file lists; say on stderr how many have some.

    Raises:
        MissingResourceError: the file cannot be read.
        DatasetError: it lists none of these subjects, or holds something else.

    """
    from memedit.errors import DatasetError
    from memedit.evaluation.aliases import known_by, read_aliases

    named, given = known_by(cases, read_aliases(file))
    edits = sum(len(case.requests) for case in cases)
    if not given:
        raise DatasetError(f"{file} lists no subject of these {edits:,} edits")
    typer.echo(f"aliases: {given:,} of {edits:,} edits carry some", err=True)
    return named


def aliases_said(file: Path | None) -> str | None:
    """Return what a run's manifest says of the file: its SHA-256."""
    import hashlib

    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
