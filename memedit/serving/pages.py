"""The proxy's own pages beside the APIs: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio

from multidict import CIMultiDict

from memedit.errors import UpstreamError
from memedit.serving.asgi import Reply, Scope
from memedit.serving.auth import Guard
from memedit.serving.health import PATIENCE_SECONDS, Readiness, alive
from memedit.serving.metrics import CONTENT_TYPE, Metrics
from memedit.serving.upstream import Upstream, drained

_MOST_BYTES = 2**25


class Pages:
    """Answers GET and HEAD for the pages it contains."""

    def __init__(
        self, guard: Guard, metrics: Metrics, upstream: Upstream, readiness: Readiness
    ) -> None:
        self._guard = guard
        self._metrics = metrics
        self._upstream = upstream
        self._readiness = readiness

    def __contains__(self, path: str) -> bool:
        return path in ("/healthz", "/readyz", "/metrics")

    async def reply(self, path: str, scope: Scope) -> Reply:
        """Return the page at ``path``, one of those contained.

        Raises:
            Unauthorized: the metrics need a key.

        """
        if path == "/healthz":
            return alive()
        if path == "/readyz":
            return await self._readiness.reply()
        self._guard.check_metrics(scope["headers"])
        return Reply(200, await self._all_metrics(), CONTENT_TYPE)

    async def _all_metrics(self) -> bytes:
        """Return our metrics, then the upstream's, whose names have prefixes of their own."""
        ours = await asyncio.to_thread(self._metrics.exposition)
        headers = CIMultiDict({"accept": "text/plain"})
        try:
            async with self._upstream.request(
                "GET", b"/metrics", b"", headers, b"", timeout=PATIENCE_SECONDS
            ) as response:
                theirs = await drained(response, _MOST_BYTES)
                if response.status != 200:
                    theirs = f"# the upstream's /metrics answered {response.status}\n".encode()
        except UpstreamError as error:
            theirs = f"# the upstream's /metrics did not answer: {error.code}\n".encode()
        return ours + theirs
