"""From a thread back to the event loop that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from memedit.routing import NeedAdapter, NeedUpstream, Route, RouteQuery, UpstreamReply


class Bridge:
    """Lets a plan that runs in a thread ask the event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        routes: Callable[[Sequence[RouteQuery]], Coroutine[Any, Any, list[Route]]],
        ask: Callable[[NeedUpstream], Coroutine[Any, Any, UpstreamReply]],
        provide: Callable[[NeedAdapter], Coroutine[Any, Any, None]],
    ) -> None:
        self._provide = provide
        self._loop = loop
        self._routes = routes
        self._ask = ask

    def decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
        """Have the event loop's batcher decide."""
        return asyncio.run_coroutine_threadsafe(self._routes(queries), self._loop).result()

    def ask(self, need: NeedUpstream) -> UpstreamReply:
        """Have the event loop ask the upstream."""
        return asyncio.run_coroutine_threadsafe(self._ask(need), self._loop).result()

    def provide(self, need: NeedAdapter) -> None:
        """Have the event loop see to an adapter."""
        asyncio.run_coroutine_threadsafe(self._provide(need), self._loop).result()
