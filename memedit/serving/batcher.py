"""Decisions for concurrent requests, taken together: one worker thread, one batch per turn."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from memedit.errors import MemeditError, MemoryFailure
from memedit.routing.route import Route, RouteQuery

log = logging.getLogger(__name__)

Decide = Callable[[Sequence[RouteQuery]], list[Route]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One request's prompts, and who waits for their routes."""

    queries: tuple[RouteQuery, ...]
    answer: asyncio.Future[list[Route]]


class DecisionBatcher:
    """Runs ``decide`` in one thread on everything that waits, up to ``max_batch`` prompts a turn.

    There is no window: a request that finds the thread idle starts at once, and those that arrive
    while a turn runs share the next one.  A request with more prompts than ``max_batch`` is decided
    in slices, in one turn of its own.

    Args:
        decide: the decision; called in the worker thread only.
        max_batch: prompts handed to one call of ``decide`` at most.
        max_waiting: requests that may wait; one more is answered with ``MemoryFailure``.
        observe: told the number of prompts of each call.

    """

    def __init__(
        self,
        decide: Decide,
        *,
        max_batch: int,
        max_waiting: int = 4_096,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        self._decide = decide
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._observe = observe
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._waiting = 0  # read and written on the event loop's thread only
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the worker thread for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="memedit-decide", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Decide what is still queued, then stop the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join)

    async def routes(self, queries: Sequence[RouteQuery]) -> list[Route]:
        """Return one route per query, in order.

        Raises:
            MemoryFailure: the decision failed, too many requests wait, or the proxy is stopping.

        """
        if self._thread is None or self._loop is None:
            raise MemoryFailure("decisions are not being taken: the proxy is starting or stopping")
        if self._waiting >= self._max_waiting:
            raise MemoryFailure(
                f"{self._waiting:,} requests already wait for a decision, "
                "which is the most that may; send fewer at a time or start further replicas"
            )
        waiting = _Waiting(tuple(queries), self._loop.create_future())
        self._waiting += 1
        try:
            self._queue.put(waiting)
            return await waiting.answer
        finally:
            self._waiting -= 1

    def _work(self) -> None:
        held: _Waiting | None = None
        while True:
            first = held if held is not None else self._queue.get()
            if first is None:
                return
            turn, held, stop = self._take(first)
            wanted = [waiting for waiting in turn if not waiting.answer.done()]
            if wanted:
                outcome = self._run([query for waiting in wanted for query in waiting.queries])
                if not self._hand_over(wanted, outcome):
                    return
            if stop:
                return

    def _take(self, first: _Waiting) -> tuple[list[_Waiting], _Waiting | None, bool]:
        """Take what waits without exceeding a batch: this turn, the first of the next, the end."""
        turn = [first]
        size = len(first.queries)
        while size < self._max_batch:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                return turn, None, True
            if size + len(more.queries) > self._max_batch:
                return turn, more, False
            turn.append(more)
            size += len(more.queries)
        return turn, None, False

    def _run(self, queries: list[RouteQuery]) -> list[Route] | MemeditError:
        routes: list[Route] = []
        try:
            for start in range(0, len(queries), self._max_batch):
                batch = queries[start : start + self._max_batch]
                if self._observe is not None:
                    self._observe(len(batch))
                decided = self._decide(batch)
                if len(decided) != len(batch):
                    raise MemoryFailure(
                        f"the router returned {len(decided)} routes for {len(batch)} prompts"
                    )
                routes += decided
        except MemeditError as error:
            return error
        except Exception as error:
            # Not on purpose, so a defect; the policy for failures of the memory answers it, and
            # the traceback is in the log (its message may quote a prompt, so it is not passed on).
            log.exception("taking a decision failed")
            return MemoryFailure(f"taking the decision failed: {type(error).__name__}")
        return routes

    def _hand_over(self, turn: list[_Waiting], outcome: list[Route] | MemeditError) -> bool:
        """Give every waiter its share, on the event loop; False once the loop is closed."""
        assert self._loop is not None  # set before the thread starts
        try:
            self._loop.call_soon_threadsafe(_resolve, turn, outcome)
        except RuntimeError:
            return False
        return True


def _resolve(turn: list[_Waiting], outcome: list[Route] | MemeditError) -> None:
    start = 0
    for waiting in turn:
        end = start + len(waiting.queries)
        if not waiting.answer.done():  # it is when the waiter was cancelled meanwhile
            if isinstance(outcome, MemeditError):
                # One error object per waiter: each raises it with a traceback of its own.
                waiting.answer.set_exception(type(outcome)(*outcome.args))
            else:
                waiting.answer.set_result(outcome[start:end])
        start = end
