"""Questions for edits that were just written: made in the background, one thread, bounded queue.

An edit is answered for, and live, before anything of this begins; nothing of it can fail a write.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from typing import Final

from multidict import CIMultiDict
from pydantic import SecretStr

from memedit.enrichment import Ask, Enriched, Enricher
from memedit.errors import MemeditError, UpstreamUnreachable
from memedit.routing.steps import NeedUpstream, UpstreamReply
from memedit.serving.metrics import Metrics
from memedit.serving.upstream import Upstream, drained
from memedit.types import Edit

log = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
"""Edits that may wait for their questions; 'memedit enrich' makes up for those beyond."""
LONGEST_ANSWER: Final = 2**20


class EnrichmentQueue:
    """Enriches edits in their order.  ``put`` may be called from any thread.

    Args:
        open_enricher: makes the enricher, given what asks the upstream; called in the worker.
        upstream: the served model.
        api_key: sent to it, since no client's is at hand.
        metrics: counts outcomes.
        most: edits that may wait.

    """

    def __init__(
        self,
        open_enricher: Callable[[Ask], Enricher],
        upstream: Upstream,
        api_key: SecretStr | None,
        metrics: Metrics,
        most: int = MOST_WAITING,
    ) -> None:
        self._open = open_enricher
        self._upstream = upstream
        self._headers = CIMultiDict({"content-type": "application/json"})
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key.get_secret_value()}"
        self._metrics = metrics
        self._queue: Queue[Edit | None] = Queue(most)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._asking: asyncio.Task[UpstreamReply] | None = None
        self._closing = False

    def start(self) -> None:
        """Start the worker thread for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="memedit-enrich", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop; edits that still wait stay without questions, which is logged."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing = True
        left = sum(edit is not None for edit in self._take(self._queue.maxsize))
        self._queue.put_nowait(None)
        if self._asking is not None:
            self._asking.cancel()
        await asyncio.to_thread(thread.join)
        if left:
            log.warning("%d edits stay without questions: run 'memedit enrich'", left)

    def put(self, edits: Sequence[Edit]) -> None:
        """Have edits enriched some time soon; where too many wait, they are left out."""
        if self._closing:
            return
        left_out = 0
        for edit in edits:
            try:
                self._queue.put_nowait(edit)
            except Full:
                left_out += 1
        if left_out:
            self._metrics.enriched.labels("left_out").inc(left_out)
            log.warning(
                "%d edits stay without questions, since too many wait: run 'memedit enrich'",
                left_out,
            )

    def _work(self) -> None:
        enricher: Enricher | None = None
        while True:
            turn = [self._queue.get()]
            if enricher is not None:
                turn += self._take(enricher.at_once - 1)
            edits = [edit for edit in turn if edit is not None]
            try:
                if edits and not self._closing:
                    enricher = enricher or self._open(self._ask)
                    self._count(enricher.enrich(edits))
            except MemeditError as error:
                self._metrics.enriched.labels("failed").inc(len(edits))
                log.warning("no questions were generated for %d edits: %s", len(edits), error)
            except Exception:  # a defect: whoever writes edits is not to suffer from it
                self._metrics.enriched.labels("failed").inc(len(edits))
                log.exception("generating questions failed")
            if len(edits) < len(turn):
                return

    def _take(self, n: int) -> list[Edit | None]:
        """Take what waits, at most ``n``."""
        taken: list[Edit | None] = []
        while len(taken) < n:
            try:
                taken.append(self._queue.get_nowait())
            except Empty:
                break
        return taken

    def _count(self, done: Enriched) -> None:
        for outcome in ("enriched", "unchanged", "gone", "failed"):
            self._metrics.enriched.labels(outcome).inc(getattr(done, outcome))
        self._metrics.questions.labels("stored").inc(done.questions)
        self._metrics.questions.labels("rejected").inc(done.rejected)

    def _ask(self, need: NeedUpstream) -> UpstreamReply:
        """Have the event loop ask the upstream; called in the worker thread."""
        assert self._loop is not None  # set before the thread starts
        future = asyncio.run_coroutine_threadsafe(self._asked(need), self._loop)
        return future.result()

    async def _asked(self, need: NeedUpstream) -> UpstreamReply:
        if self._closing:
            raise UpstreamUnreachable("the proxy is stopping")
        self._asking = asyncio.ensure_future(self._sent(need))
        try:
            return await self._asking
        except asyncio.CancelledError:
            raise UpstreamUnreachable("the proxy is stopping") from None
        finally:
            self._asking = None

    async def _sent(self, need: NeedUpstream) -> UpstreamReply:
        async with self._upstream.request(
            need.method,
            need.path.encode("ascii"),
            b"",
            self._headers.copy(),
            need.body,
            need.timeout,
        ) as response:
            return UpstreamReply(response.status, await drained(response, LONGEST_ANSWER))
