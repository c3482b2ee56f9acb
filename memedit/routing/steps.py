"""What a request plan asks of its driver, and what it ends with."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from memedit.errors import MemeditError
from memedit.routing.guard import Guard
from memedit.routing.route import Route, RouteQuery


@dataclass(frozen=True, slots=True)
class NeedRoutes:
    """The driver answers with ``list[Route]``, one per query, or throws ``MemoryFailure`` in."""

    queries: tuple[RouteQuery, ...]


@dataclass(frozen=True, slots=True)
class NeedUpstream:
    """The driver sends this to the upstream and answers with an ``UpstreamReply``.

    It uses the client's own key, and throws ``UpstreamError`` in when there is no answer.
    """

    method: str
    path: str
    body: bytes
    """JSON."""
    timeout: float | None = None
    """Seconds for all of it; ``None``: as long as any request of a client's may take."""


@dataclass(frozen=True, slots=True)
class NeedAdapter:
    """The driver sees to it that the upstream serves this adapter, and answers with nothing.

    It throws ``AdapterUnavailable`` in where that cannot be, or where the request asks for another
    model than the one that adapters are for.
    """

    name: str
    model: str | None
    """What the request names."""


class AdapterUnavailable(MemeditError):
    """An adapter cannot be used now; ``reason`` is a word for the decision's note."""

    code = "adapter_unavailable"
    status = 503

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """What the upstream said."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """An answer of ours, status 200, in the wire format that was asked."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be forwarded."""

    body: bytes
    """The very bytes object that came in, unless ``touched``."""
    routes: tuple[Route, ...]
    """One per prompt; exactly one where nothing was read."""
    touched: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    """The ``x-memedit-*`` response headers: lower-case names, ASCII values of bounded length."""
    note: str | None = None
    """What else the client should know; the same as in the header ``x-memedit-note``."""
    guard: Guard | None = None
    """What the answer must not tell; none where no erasure was applied."""
    adapter: str | None = None
    """The adapter that the body names as its model."""
    counterfactual: bool = False
    """Whether it goes to the counterfactual model's server, which the body names as its model."""
    answer: OwnAnswer | None = None
    """What is sent back, with ``headers``, instead of forwarding anything."""


Need: TypeAlias = NeedRoutes | NeedUpstream | NeedAdapter

Plan: TypeAlias = Generator[Need, Any, Prepared]
"""A request on its way: yields what it needs, is sent the answers, returns ``Prepared``."""
