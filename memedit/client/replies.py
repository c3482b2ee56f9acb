"""What the edit API answers beside edits: search hits, route reports, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from memedit.errors import MemeditError, UpstreamError
from memedit.routing.route import Reason
from memedit.types import Action, Edit, ScopeLabel


class _Reply(BaseModel):
    # A newer server may say more than this client knows of.
    model_config = ConfigDict(frozen=True, extra="ignore")


class SearchHit(_Reply):
    """One edit that a search brought up."""

    edit: Edit
    similarity: float
    matched: str


class Probabilities(_Reply):
    """How likely each relation of a prompt to an edit is; they sum to 1."""

    direct: float
    dependent: float
    unrelated: float


class Considered(_Reply):
    """One candidate edit as it was judged for one prompt."""

    edit: str
    statement: str
    matched: str
    similarity: float
    scope: ScopeLabel
    probabilities: Probabilities
    applied: bool


class RouteReport(_Reply):
    """What is done with one prompt and why: a ``Route`` as it crosses the network."""

    action: Action
    reason: Reason
    namespaces: tuple[str, ...]
    method: str | None = None
    edits: tuple[str, ...] = ()
    considered: tuple[Considered, ...] = ()
    note: str | None = None


def failure(what: str, status: int, content: bytes) -> MemeditError:
    """Return the error that a reply stands for: by its ``code``, else by its status."""
    try:
        reply = json.loads(content)
    except ValueError:
        reply = None
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return UpstreamError(
            f"{what} was answered with status {status} and no error of the edit API; "
            "is the base URL that of a memedit proxy?"
        )
    kind = _kinds().get(str(error.get("code")), UpstreamError)
    return kind(error["message"])


def _kinds() -> dict[str, type[MemeditError]]:
    def tree(kind: type[MemeditError]) -> Iterator[type[MemeditError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    kinds: dict[str, type[MemeditError]] = {}
    for kind in tree(MemeditError):
        kinds.setdefault(kind.code, kind)
    return kinds


def report(route: Any) -> RouteReport:
    """Return the report of a ``Route`` decided in this process."""
    return RouteReport.model_validate(route.to_dict())
