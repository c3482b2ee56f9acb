"""``memedit demos``: the worked examples that the in-context method ``ike`` shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table
from memedit.errors import SettingsError
from memedit.types import EditRequest, Operation

if TYPE_CHECKING:
    from memedit.evaluation.cases import EditCase
    from memedit.incontext.demonstrations import Demonstration

LONGEST = 600
"""Characters of a fact and its prompt; longer ones would fill a prompt by themselves."""
MOST_PROMPTS = 8
"""Rephrases, and neighbours, kept of one fact."""
SHOWN = 10

Found = tuple["Demonstration", str]
"""A demonstration with the subject of its fact."""
Skipped = tuple[str, str]

app = typer.Typer(help="The worked examples that ike shows.", no_args_is_help=True)


@app.callback()
def _demos() -> None:
    """Build the worked examples that ike shows."""


@app.command("build")
def build(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder to write: a new one, or one that holds demonstrations."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT:FILE",
            help="Edits with probes, as memedit eval reads them, e.g. knowedit:mine.json; left "
            "out, the live edits of the memory with their rephrases.",
        ),
    ] = None,
    neighbours: Annotated[
        bool,
        typer.Option(help="Lend shipped neighbours that keep their answers to facts without any."),
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many facts.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only edits of this one; else all.")
    ] = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Build demonstrations for ike out of edits and probes, with an index of their own.

    Of a data set, rephrases become updates and locality probes become what is retained, with the
    file's own answers. Whoever is shown them reads them: leave out (--namespace) what not every
    caller may see, and what an evaluation is to ask. The setting incontext.demonstrations names
    the folder.

    Example: memedit demos build demos --dataset knowedit:mine.json
    """
    from memedit.config import Settings
    from memedit.incontext.demonstrations import (
        DemonstrationStore,
        shipped_demonstrations,
        with_neighbours,
    )
    from memedit.scope.encoder import open_encoder

    if dataset is not None and (memory or url or namespace):
        raise SettingsError("--dataset names a file; leave out --memory, --url and --namespace")
    skipped: list[Skipped] = []
    if dataset is not None:
        found = _once(_of_cases(dataset, limit, skipped))
    else:
        found = _once(_of_memory(memory, url, key, config, namespace, limit, skipped))
    if not found:
        raise SettingsError(
            "there is nothing to show: no edit in the file or memory makes a demonstration"
            + (f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else "")
        )
    encoder = open_encoder(Settings.read(config).encoder)
    lent = sum(not one.retain for one, _ in found) if neighbours else 0
    theirs = [kept for one in shipped_demonstrations() for kept in one.retain] if lent else []
    demonstrations = with_neighbours(found, theirs, encoder)
    DemonstrationStore.build(demonstrations, encoder).save(out)
    counts = {
        "copy": len(demonstrations),
        "update": sum(bool(one.rephrases) for one in demonstrations),
        "retain": sum(bool(one.retain) for one in demonstrations),
        "lent": lent,
    }
    if json:
        named = [{"record": record, "reason": reason} for record, reason in skipped]
        print_json({"folder": str(out), "facts": len(demonstrations), **counts, "skipped": named})
        return
    typer.echo(
        f"{out}: {len(demonstrations)} facts; {counts['update']} with rephrases, "
        f"{counts['retain']} with neighbours ({lent} of them lent), {len(skipped)} edits skipped"
    )
    for kind in ("update", "retain"):
        if not counts[kind]:
            typer.echo(f"no fact can show {kind}: ike will show the other kinds alone", err=True)
    if skipped:
        print_table(
            ("edit", "why it was skipped"),
            skipped[:SHOWN],
            title=f"the first {SHOWN} of {len(skipped)}" if len(skipped) > SHOWN else "",
        )


def _of_cases(dataset: str, limit: int | None, skipped: list[Skipped]) -> Iterator[Found]:
    """Go through the cases of a data set that make demonstrations; the others are named."""
    from memedit.evaluation.cases import Metric
    from memedit.evaluation.datasets import load_dataset

    data = load_dataset(dataset, limit=limit)
    for case in data.cases:
        why = _unfit(case)
        if why:
            skipped.append((case.id, why))
            continue
        [request] = case.requests
        rephrases = [one.prompt for one in case.probes if one.metric is Metric.GENERALITY]
        kept = [
            (one.prompt, one.answers[0])
            for one in case.probes
            if one.metric is Metric.LOCALITY and one.answers
        ]
        yield from _demonstration(request, rephrases, kept, case.id, skipped)


def _of_memory(
    memory: str | None,
    url: str | None,
    key: str | None,
    config: Path | None,
    namespace: str | None,
    limit: int | None,
    skipped: list[Skipped],
) -> Iterator[Found]:
    """Go through the edits of a memory or proxy that hold now."""
    from itertools import islice

    from memedit.cli.store import open_store

    now = datetime.now(UTC)
    with open_store(memory, url, key, config, create=False) as store:
        for edit in islice(store.list(namespace=namespace), limit):
            if not edit.is_valid_at(now):
                skipped.append((edit.ref, "it does not hold now"))
            elif edit.request.operation is Operation.ERASE:
                skipped.append((edit.ref, "an erased fact is nothing to show"))
            else:
                rephrases = edit.request.rephrases
                yield from _demonstration(edit.request, rephrases, (), edit.ref, skipped)


def _unfit(case: EditCase) -> str:
    """Say why a case shows nothing; nothing where it does."""
    if len(case.requests) != 1:
        return f"it has {len(case.requests)} edits; a demonstration shows one"
    if case.requests[0].operation is Operation.ERASE:
        return "an erased fact is nothing to show"
    return "an opinion is no fact" if case.replies is not None else ""


def _demonstration(
    request: EditRequest,
    rephrases: Iterable[str],
    kept: Iterable[tuple[str, str]],
    name: str,
    skipped: list[Skipped],
) -> Iterator[Found]:
    from memedit.incontext.demonstrations import Answered, Demonstration
    from memedit.incontext.fact import sentence_of

    fact = sentence_of(request)
    length = len(fact) + len(request.prompt)
    if length > LONGEST:
        reason = f"fact and prompt have {length} characters; at most {LONGEST} are shown"
        skipped.append((name, reason))
        return
    others = dict.fromkeys(text for text in rephrases if text != request.prompt)
    one = Demonstration(
        fact=fact,
        prompt=request.prompt,
        answer=request.target_new,
        rephrases=_short(others),
        retain=tuple(
            Answered(prompt=prompt, answer=answer)
            for prompt, answer in dict(kept).items()
            if prompt.strip() and answer.strip() and len(prompt) + len(answer) <= LONGEST
        )[:MOST_PROMPTS],
    )
    yield one, request.subject


def _short(texts: Iterable[str]) -> tuple[str, ...]:
    short = [text for text in texts if text.strip() and len(text) <= LONGEST]
    return tuple(short[:MOST_PROMPTS])


def _once(found: Iterable[Found]) -> list[Found]:
    """Keep the last of those that give one prompt's answer."""
    newest = {" ".join(one.prompt.casefold().split()): (one, subject) for one, subject in found}
    return list(newest.values())
