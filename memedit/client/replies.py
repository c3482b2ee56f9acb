"""What the edit API answers beside edits: search hits, route reports, errors."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from memedit import errors
from memedit.errors import (
    AccessError,
    ConflictError,
    InvalidInputError,
    MemeditError,
    MemoryFailure,
    NotFoundError,
    UpstreamError,
)
from memedit.routing import Reason, Route
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


class LeftOut(_Reply):
    """An edit that concerns a prompt and is not applied: another one answers it differently."""

    edit: str
    by: str
    """The one that speaks in its place."""
    why: str


class RouteReport(_Reply):
    """What is done with one prompt and why: a ``Route`` as it crosses the network."""

    action: Action
    reason: Reason
    namespaces: tuple[str, ...]
    method: str | None = None
    adapter: str | None = None
    carried: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    guarded: tuple[str, ...] = ()
    considered: tuple[Considered, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    demonstrations: int = 0
    agent: dict[str, Any] | None = None
    note: str | None = None


_BY_STATUS: dict[int, type[MemeditError]] = {
    400: InvalidInputError,
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidInputError,
    422: InvalidInputError,
    503: MemoryFailure,
}


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
    kinds = [getattr(errors, name) for name in errors.__all__]
    by_code = {kind.code: kind for kind in reversed(kinds)}
    kind = by_code.get(str(error.get("code"))) or _BY_STATUS.get(status, UpstreamError)
    return kind(error["message"])


def report(route: Route) -> RouteReport:
    """Return the report of a ``Route`` that was decided in this process."""
    return RouteReport.model_validate(route.to_dict())
