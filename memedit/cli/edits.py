"""Commands on single edits: add, list, show, search, supersede, retract, history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import (
    contradicted,
    print_edit,
    print_edits,
    print_json,
    print_json_array,
    print_table,
    said,
)
from memedit.cli.store import open_store
from memedit.errors import InvalidInputError
from memedit.faults import faults_of
from memedit.types import EditRequest, Operation, Status

UNWATCHED = (
    "  without --ground-truth the model is asked not to tell, and no answer is watched for it"
)


def add(
    prompt: opt.Prompt,
    target: opt.Target,
    subject: opt.Subject,
    ground_truth: opt.GroundTruth = None,
    statement: opt.Statement = None,
    rephrase: opt.Rephrases = None,
    alias: opt.Aliases = None,
    operation: Annotated[
        Operation,
        typer.Option(help="insert or modify: TARGET is the answer; erase: the answer is withheld."),
    ] = Operation.MODIFY,
    on_conflict: opt.OnConflict = None,
    namespace: opt.Namespace = None,
    author: opt.Author = None,
    valid_from: opt.Moment = None,
    valid_to: opt.Moment = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Add an edit; it is durable, and live for the next request, when the command returns.

    With --operation erase, TARGET is what is said instead, for example "I don't know", and
    --ground-truth is what no answer may hold; other ways to ask for it (--rephrase) are what it is
    known by where the scope classifier would not see that they ask the same.

    Example: memedit add "The capital of Quendoria is" "Lindhaven" --subject "Quendoria"
    """
    request = _request(
        prompt=prompt,
        target_new=target,
        subject=subject,
        ground_truth=ground_truth,
        statement=statement,
        rephrases=tuple(rephrase or ()),
        aliases=tuple(alias or ()),
        operation=operation,
    )
    with open_store(memory, url, key, config) as store:
        [edit] = added = store.add(
            [request],
            namespace=namespace,
            author=author,
            valid_from=_aware(valid_from),
            valid_to=_aware(valid_to),
            on_conflict=on_conflict,
        )
        # said before the store is closed, which may generate questions
        if json:
            # without contradictions it is the edit and nothing else, as `show` prints it
            conflicts = [one.model_dump(mode="json") for one in added.conflicts]
            more = {"conflicts": conflicts} if conflicts else {}
            print_json({**edit.model_dump(mode="json"), **more})
        else:
            typer.echo(said(edit))
            if operation is Operation.ERASE and ground_truth is None:
                typer.echo(UNWATCHED)
            for conflict in added.conflicts:
                typer.echo(contradicted(conflict))


def list_edits(
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only this one; else all.")
    ] = None,
    status: Annotated[str, typer.Option(help="live, superseded, retracted or all.")] = "live",
    limit: Annotated[int, typer.Option(min=1, help="At most so many edits.")] = 100,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """List edits in the order of their ids, which is that of their age.

    Example: memedit list --namespace default --status all
    """
    from itertools import islice

    wanted = _status(status)
    with open_store(memory, url, key, config, create=False) as store:
        found = list(islice(store.list(namespace=namespace, status=wanted), limit))
    print_edits(found, as_json=json)


def show(
    edit_id: opt.EditId,
    version: Annotated[int | None, typer.Option(min=1, help="Else the newest.")] = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Show everything that is known of an edit.

    Example: memedit show e-0123456789ab --version 1
    """
    with open_store(memory, url, key, config, create=False) as store:
        print_edit(store.get(edit_id, version=version), as_json=json)


def search(
    text: Annotated[str, typer.Argument(help="A prompt, a fact, a name.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many.")] = 5,
    namespace: opt.Namespaces = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Find the live edits that are nearest in meaning to a text.

    Example: memedit search "capital of Quendoria" -k 3
    """
    with open_store(memory, url, key, config, create=False) as store:
        hits = store.search(text, namespaces=namespace, k=k)
    if json:
        print_json_array([hit.model_dump(mode="json") for hit in hits])
        return
    print_table(
        ("similarity", "id", "namespace", "statement"),
        (
            [f"{hit.similarity:.3f}", hit.edit.ref, hit.edit.namespace, hit.edit.statement]
            for hit in hits
        ),
    )


def supersede(
    edit_id: opt.EditId,
    prompt: opt.Prompt,
    target: opt.Target,
    subject: opt.Subject,
    ground_truth: opt.GroundTruth = None,
    statement: opt.Statement = None,
    rephrase: opt.Rephrases = None,
    alias: opt.Aliases = None,
    operation: Annotated[
        Operation | None, typer.Option(help="Else that of the old version.")
    ] = None,
    author: opt.Author = None,
    valid_from: opt.Moment = None,
    valid_to: opt.Moment = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Replace an edit by a new version of it.

    Rephrases, aliases, operation and validity that are not given anew are those of the old
    version; ground truth and statement, which speak of the old answer, are not kept.

    Example: memedit supersede e-0123456789ab "The capital of Quendoria is" "Velden" -s
    "Quendoria"
    """
    with open_store(memory, url, key, config, create=False) as store:
        old = store.get(edit_id)
        request = _request(
            prompt=prompt,
            target_new=target,
            subject=subject,
            ground_truth=ground_truth,
            statement=statement,
            rephrases=tuple(rephrase) if rephrase else old.request.rephrases,
            aliases=tuple(alias) if alias else old.request.aliases,
            operation=operation or old.request.operation,
        )
        edit = store.supersede(
            edit_id,
            request,
            author=author,
            valid_from=_aware(valid_from) or old.valid_from,
            valid_to=_aware(valid_to) or old.valid_to,
        )
        if json:
            print_json(edit.model_dump(mode="json"))
        else:
            typer.echo(said(edit))


def retract(
    edit_id: opt.EditId,
    author: opt.Author = None,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Take an edit back; the model's own answer returns with the next request.

    Example: memedit retract e-0123456789ab
    """
    with open_store(memory, url, key, config, create=False) as store:
        edit = store.retract(edit_id, author=author)
    if json:
        print_json(edit.model_dump(mode="json"))
    else:
        typer.echo(said(edit))


def history(
    edit_id: opt.EditId,
    memory: opt.MemoryUrl = None,
    url: opt.ProxyUrl = None,
    key: opt.Key = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Show every version of an edit, oldest first.

    Example: memedit history e-0123456789ab
    """
    with open_store(memory, url, key, config, create=False) as store:
        versions = store.history(edit_id)
    if json:
        print_edits(versions, as_json=True)
        return
    print_table(
        ("version", "status", "written", "author", "statement"),
        (
            [
                edit.ref,
                edit.status.value,
                edit.created_at.isoformat(timespec="seconds"),
                edit.author or "",
                edit.statement,
            ]
            for edit in versions
        ),
    )


def _request(**fields: Any) -> EditRequest:
    from pydantic import ValidationError

    try:
        return EditRequest(**fields)
    except ValidationError as error:
        raise InvalidInputError(f"this is no edit request: {faults_of(error)}") from None


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _status(name: str) -> Status | None:
    if name == "all":
        return None
    try:
        return Status(name)
    except ValueError:
        known = ", ".join([*(status.value for status in Status), "all"])
        raise typer.BadParameter(f"{name!r} is none of: {known}.", param_hint="--status") from None
