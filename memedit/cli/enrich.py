"""``memedit enrich``: further questions for edits that are there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_json_array, print_table, progress

if TYPE_CHECKING:
    from memedit.memory import EditMemory
    from memedit.types import Edit

_PAGE = 500


def enrich(
    method: Annotated[
        Literal["none", "templates", "model"] | None,
        typer.Option(help="Else that of the settings; none removes what was generated."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Also edits that have questions of this method.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="Only print what was generated for which edit.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only this one; else all.")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="The served model, for --method model.")
    ] = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Generate further questions for live edits that have none yet, to find the edits by.

    They stand beside the edits, which stay as they were written, and go when those are superseded
    or retracted.  A running proxy finds them with its next request.  Exit code 1 where the model
    did not answer for some; the next run tries those again.

    Example: memedit enrich --method templates --memory sqlite:///memedit.db
    """
    from memedit.cli.enriching import enrich_edits
    from memedit.config import Settings
    from memedit.wiring import open_memory

    flags = {"memory": {"url": memory, "enrich": method}, "serve": {"upstream": upstream}}
    settings = Settings.read(config, flags)
    with open_memory(settings=settings, create=False) as opened:
        if listed:
            _print(opened, namespace, as_json=json)
            return
        if method == "none":
            removed = opened.questions.clear(namespace)
            if json:
                print_json({"removed_from": removed})
            else:
                typer.echo(f"what was generated for {removed} edits is removed")
            return
        total = sum(n for name, n in opened.namespaces().items() if namespace in (None, name))
        with progress("generating questions") as tell:
            done = enrich_edits(
                opened,
                settings,
                live_edits(opened, namespace, without=None if anew else settings.memory.enrich),
                anew=True,  # those that have some are not among them, unless they are asked for
                tell=lambda tried: tell(tried, total),
            )
    if json:
        print_json(asdict(done))
    else:
        typer.echo(
            f"{done.questions} questions for {done.enriched} edits; {done.unchanged} edits of a "
            f"form that nothing was made of, {done.failed} without an answer of the model"
            + (f"; {done.rejected} answers rejected" if done.rejected else "")
        )
    if done.failed:
        raise typer.Exit(1)


def live_edits(
    memory: EditMemory, namespace: str | None = None, *, without: str | None = None
) -> Iterator[Edit]:
    """Walk through live edits; with ``without`` those that have no questions of that method."""
    after = None
    while True:
        if without is None:
            page = memory.list(namespace=namespace, limit=_PAGE, after=after)
        else:
            page = memory.questions.missing(without, namespace=namespace, limit=_PAGE, after=after)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _print(memory: EditMemory, namespace: str | None, *, as_json: bool) -> None:
    found = memory.questions.all(namespace)
    if as_json:
        print_json_array([asdict(one) for one in found])
        return
    print_table(
        ("edit", "by", "generated"),
        ([one.ref, one.method, text] for one in found for text in one.texts),
    )
