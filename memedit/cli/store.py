"""Where the data commands work: on a memory directly, or on a running proxy; the same verbs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from memedit.errors import InvalidInputError, MemeditError
from memedit.types import Added, Edit, EditRequest, QueryText, Status, Surface

if TYPE_CHECKING:
    from memedit.client.replies import RouteReport, SearchHit
    from memedit.config import Settings
    from memedit.library import Inspection
    from memedit.memory import EditMemory
    from memedit.routing import Router

log = logging.getLogger(__name__)

PAGE = 500
OnDuplicate = Literal["store", "return"]
OnConflict = Literal["keep", "supersede", "reject"]


class Store(Protocol):
    """What the commands ask for; ``memedit.Client`` is one, ``LocalStore`` the other."""

    def add(
        self,
        requests: Sequence[EditRequest],
        *,
        namespace: str | None = None,
        author: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        on_duplicate: OnDuplicate = "store",
        on_conflict: OnConflict | None = None,
    ) -> Added:
        """Store edits in one transaction."""

    def get(self, edit_id: str, *, version: int | None = None) -> Edit:
        """Return one edit."""

    def list(
        self, *, namespace: str | None = None, status: Status | None = Status.LIVE
    ) -> Iterator[Edit]:
        """Walk through all edits."""

    def search(
        self, text: str, *, namespaces: Sequence[str] | None = None, k: int = 5
    ) -> Sequence[SearchHit]:
        """Return the nearest edits."""

    def supersede(
        self,
        edit_id: str,
        request: EditRequest,
        *,
        author: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> Edit:
        """Write a new version."""

    def retract(self, edit_id: str, *, author: str | None = None) -> Edit:
        """Take an edit back."""

    def history(self, edit_id: str) -> Sequence[Edit]:
        """Return all versions."""

    def route(
        self,
        prompts: Sequence[str | Sequence[Mapping[str, Any]]],
        *,
        namespaces: Sequence[str] | None = None,
        threshold: float | None = None,
    ) -> Sequence[RouteReport]:
        """Say what would be done with each prompt."""


class LocalStore:
    """An edit memory in this process, under the verbs of the client."""

    def __init__(self, memory: EditMemory, settings: Settings) -> None:
        self.memory = memory
        self.settings = settings
        self._written: list[Edit] = []

    def wrote(self, edits: Sequence[Edit]) -> None:
        """Remember what was written, for ``enrich_written``."""
        if self.settings.memory.enrich != "none":
            self._written += edits

    def enrich_written(self) -> None:
        """Generate questions for what was written; that they fail is said, and no more."""
        from memedit.cli.enriching import enrich_edits

        if not self._written:
            return
        try:
            enrich_edits(self.memory, self.settings, self._written)
        except MemeditError as error:
            log.warning("the edits are stored, but no questions were generated: %s", error)
        self._written = []

    def add(
        self,
        requests: Sequence[EditRequest],
        *,
        namespace: str | None = None,
        author: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        on_duplicate: OnDuplicate = "store",
        on_conflict: OnConflict | None = None,
    ) -> Added:
        """Store edits in one transaction."""
        added = self.memory.add(
            requests,
            namespace=namespace or self.settings.memory.namespace,
            author=author,
            valid_from=valid_from,
            valid_to=valid_to,
            on_duplicate=on_duplicate,
            on_conflict=on_conflict,
        )
        self.wrote(added)
        return added

    def get(self, edit_id: str, *, version: int | None = None) -> Edit:
        """Return one edit."""
        return self.memory.get(edit_id, version=version)

    def list(
        self, *, namespace: str | None = None, status: Status | None = Status.LIVE
    ) -> Iterator[Edit]:
        """Walk through all edits."""
        after = None
        while True:
            page = self.memory.list(namespace=namespace, status=status, limit=PAGE, after=after)
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].ref

    def search(
        self, text: str, *, namespaces: Sequence[str] | None = None, k: int = 5
    ) -> Sequence[SearchHit]:
        """Return the nearest edits."""
        from memedit.client.replies import SearchHit

        found = self.memory.search(text, namespaces=self._spaces(namespaces), k=k)
        return [
            SearchHit(edit=hit.edit, similarity=hit.similarity, matched=hit.matched)
            for hit in found
        ]

    def supersede(
        self,
        edit_id: str,
        request: EditRequest,
        *,
        author: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> Edit:
        """Write a new version."""
        edit = self.memory.supersede(
            edit_id, request, author=author, valid_from=valid_from, valid_to=valid_to
        )
        self.wrote([edit])
        return edit

    def retract(self, edit_id: str, *, author: str | None = None) -> Edit:
        """Take an edit back."""
        return self.memory.retract(edit_id, author=author)

    def history(self, edit_id: str) -> Sequence[Edit]:
        """Return all versions."""
        return self.memory.history(edit_id)

    def route(
        self,
        prompts: Sequence[str | Sequence[Mapping[str, Any]]],
        *,
        namespaces: Sequence[str] | None = None,
        threshold: float | None = None,
    ) -> Sequence[RouteReport]:
        """Say what would be done with each prompt."""
        from memedit.client.replies import report
        from memedit.routing import RouteQuery
        from memedit.routing.answering import foreseen
        from memedit.routing.providing import foreseen_provided

        agent = self.settings.agent.method if self.settings.routing.dependent == "agent" else None
        spaces = self._spaces(namespaces)
        asked = [
            RouteQuery(query_of(prompt), Surface.CHAT, spaces, threshold) for prompt in prompts
        ]
        decided = [foreseen_provided(one, self._fault) for one in self._router.decide(asked)]
        return [report(foreseen(agent, *one)) for one in zip(prompts, asked, decided, strict=True)]

    @cached_property
    def _router(self) -> Router:
        from memedit.wiring import open_router

        return open_router(self.memory, self.settings, adapters=True, counterfactual=True)

    def _fault(self, adapter: str) -> str | None:
        found = self._inspection.fault(adapter) if self._inspection is not None else None
        return None if found is None else found.reason

    @cached_property
    def _inspection(self) -> Inspection | None:
        from memedit.library import Inspection, Library

        chosen = self.settings.adapters
        if chosen.library is None or chosen.base is None:
            return None
        records = self.memory.adapters.view().records
        return Inspection(Library(chosen.library), chosen.base, lambda name: records[name].sha256)

    def _spaces(self, namespaces: Sequence[str] | None) -> tuple[str, ...]:
        return tuple(namespaces or (self.settings.memory.namespace,))


def query_of(prompt: str | Sequence[Mapping[str, Any]]) -> QueryText:
    """Return what a prompt asks; of a conversation, what the chat format reads out of it."""
    from memedit.routing import wire_for
    from memedit.routing.wire.base import NotRead, TextPrompt

    if isinstance(prompt, str):
        return QueryText(prompt)
    chat = wire_for("POST", "/v1/chat/completions")
    try:
        found = chat.read({"messages": list(prompt)}) if chat is not None else ()
    except NotRead as outcome:
        raise InvalidInputError(f"messages ask nothing in words ({outcome.note})") from None
    [query] = [one.query for one in found if isinstance(one, TextPrompt)]
    return query


@contextmanager
def open_store(
    memory: str | None,
    url: str | None,
    key: str | None,
    config: Path | None,
    *,
    create: bool = True,
) -> Iterator[Store]:
    """Open the proxy at ``url``, or else the memory of the flags and settings.

    At its end questions are generated for what was written to a memory, where the settings say so;
    a proxy sees to that by itself.

    Args:
        memory: URL of a memory; excludes ``url``.
        url: base URL of a running proxy.
        key: its admin key.
        config: settings file.
        create: whether a memory that is not there is made; reading makes none.

    """
    import typer

    if url is not None:
        if memory is not None:
            raise typer.BadParameter("give --url or --memory, not both.", param_hint="--url")
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(
                f"{url!r} is no URL; expected http://HOST:PORT.", param_hint="--url"
            )
        from memedit.client import Client

        with Client(url, api_key=key) as client:
            yield client
        return
    from memedit.config import Settings
    from memedit.wiring import open_memory

    settings = Settings.read(config, {"memory": {"url": memory}})
    with open_memory(settings=settings, create=create) as opened:
        local = LocalStore(opened, settings)
        yield local
        local.enrich_written()
