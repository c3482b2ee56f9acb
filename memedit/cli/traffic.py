"""Prompts to calibrate on: a user's own traffic, and what the edits of a memory should fire on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memedit.cli.prompt_files import prompt_of, read_records
from memedit.cli.store import PAGE, query_of
from memedit.errors import InvalidInputError
from memedit.types import Edit, QueryText, Surface

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.memory import EditMemory
    from memedit.routing import Route, Router

BATCH = 64
ORDINARY = "ordinary"
GIVEN = "given"
STORED = "own prompts"
REPHRASED = "rephrases"


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt, and what should become of it."""

    text: str
    query: QueryText
    kind: str
    """``ordinary``: nothing should fire; else where the prompt is from."""
    edit: str | None = None
    """The id of the edit that should fire, where it is known."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a file of prompts holds."""

    asked: tuple[Asked, ...]
    unread: int
    """Conversations that ask nothing in words: they pass, and are not counted."""


def read_traffic(file: Path, live: frozenset[str]) -> Traffic:
    """Read prompts; of JSON Lines also ``edit`` (an id) and ``should_fire``.

    Args:
        file: as ``memedit route --file`` takes it.
        live: ids of the edits that may be expected.

    Raises:
        InvalidInputError: names the line, and what is wrong with it.

    """
    asked, unread = [], 0
    for where, record in read_records(file):
        prompt = prompt_of(record, where)
        edit, fires = _expected(record, where, live) if isinstance(record, dict) else (None, False)
        try:
            query = query_of(prompt)
        except InvalidInputError:
            unread += 1
            continue
        asked.append(Asked(query.text, query, GIVEN if fires else ORDINARY, edit))
    return Traffic(tuple(asked), unread)


def _expected(record: dict[str, Any], where: str, live: frozenset[str]) -> tuple[str | None, bool]:
    edit, fires = record.get("edit"), record.get("should_fire")
    if fires is not None and not isinstance(fires, bool):
        raise InvalidInputError(f"{where}: should_fire is {fires!r}; expected true or false")
    if edit is None:
        return None, bool(fires)
    name = edit.partition("@")[0] if isinstance(edit, str) else None
    if name is None or name not in live:
        raise InvalidInputError(
            f"{where}: the edit {edit!r} is not live in this memory; see `memedit list`, or say "
            '"should_fire": true without an edit'
        )
    if fires is False:
        raise InvalidInputError(f'{where}: names an edit, and says "should_fire": false; which?')
    return name, True


def live_edits(memory: EditMemory, namespaces: Sequence[str]) -> list[Edit]:
    """Return the edits that can fire now.

    Raises:
        InvalidInputError: there are none, so that there is nothing to calibrate.

    """
    now = datetime.now(UTC)
    found = [
        edit
        for namespace in dict.fromkeys(namespaces)
        for edit in _all(memory, namespace)
        if edit.is_valid_at(now)
    ]
    if not found:
        raise InvalidInputError(
            f"no edit is live in the namespaces {', '.join(namespaces)}, so no prompt can fire; "
            "add edits first, or give the --memory and --namespace of those in use"
        )
    return found


def _all(memory: EditMemory, namespace: str) -> Iterator[Edit]:
    after = None
    while page := memory.list(namespace=namespace, limit=PAGE, after=after):
        yield from page
        after = page[-1].ref


def spread(edits: Sequence[Edit], most: int) -> list[Edit]:
    """Return at most ``most`` edits, evenly out of all: the same ones every time."""
    n = min(most, len(edits))
    return [edits[i * len(edits) // n] for i in range(n)]


def own_prompts(edits: Sequence[Edit]) -> list[Asked]:
    """Return the prompts by which edits are stored."""
    return [
        Asked(edit.request.prompt, QueryText(edit.request.prompt), STORED, edit.id)
        for edit in edits
    ]


@contextmanager
def without_rephrases(
    edits: Sequence[Edit], memory: EditMemory, settings: Settings, tell: Callable[[int, int], None]
) -> Iterator[tuple[Router, dict[str, str]]]:
    """Copy edits into a memory that does not know their rephrases: there they are unseen prompts.

    Yields:
        A router over it, and the id in the copy of each edit.

    """
    from memedit.memory import EditMemory as Memory
    from memedit.memory import NewEdit
    from memedit.wiring import open_router

    new = [
        NewEdit(
            edit.request.model_copy(update={"rephrases": ()}),
            edit.namespace,
            edit.author,
            edit.valid_from,
            edit.valid_to,
        )
        for edit in edits
    ]
    with Memory.open("sqlite://", memory.encoder, index=settings.memory.index) as copy:
        stored = copy.add_edits(new, progress=tell)
        ids = {edit.id: mine.id for edit, mine in zip(edits, stored, strict=True)}
        yield open_router(copy, settings), ids


def rephrases(edits: Sequence[Edit], ids: dict[str, str]) -> list[Asked]:
    """Return the rephrases of edits, as asked of a memory in which they have other ids."""
    return [
        Asked(text, QueryText(text), REPHRASED, ids[edit.id])
        for edit in edits
        for text in edit.request.rephrases
        if text != edit.request.prompt
    ]


def routed(
    router: Router,
    asked: Sequence[Asked],
    namespaces: tuple[str, ...],
    tell: Callable[[int, int], None],
) -> list[Route]:
    """Decide about prompts; equal ones once."""
    from memedit.routing import RouteQuery

    queries = list(dict.fromkeys(one.query for one in asked))
    known: dict[QueryText, Route] = {}
    for start in range(0, len(queries), BATCH):
        batch = queries[start : start + BATCH]
        routes = router.decide([RouteQuery(one, Surface.CHAT, namespaces) for one in batch])
        known.update(zip(batch, routes, strict=True))
        tell(len(known), len(queries))
    return [known[one.query] for one in asked]


def probability(route: Route) -> float:
    """Return how probable it is that any edit concerns the prompt."""
    return max((one.probability for one in route.considered), default=0.0)
