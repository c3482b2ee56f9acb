"""The sequences of one HTTP request, as the event loop sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from memedit.engine.sampling import SamplingParams
from memedit.engine.scheduler import Scheduler
from memedit.engine.sequence import Delta, GeneratedSequence


class Generation:
    """Submits the sequences of a request and hands out their deltas as they come."""

    def __init__(
        self,
        scheduler: Scheduler,
        jobs: Sequence[tuple[Sequence[int], SamplingParams]],
        *,
        stream: bool,
    ) -> None:
        """Prepare one sequence for every (prompt, parameters); nothing is submitted yet."""
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._deltas: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
        self.sequences = [
            GeneratedSequence(
                prompt,
                params,
                scheduler.loaded.tokenizer,
                partial(self._deliver, index),
                stream=stream,
            )
            for index, (prompt, params) in enumerate(jobs)
        ]

    async def deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """Submit, then yield (index of the sequence, delta) until all sequences have ended.

        Raises:
            Exception: what the engine failed with.

        """
        self._scheduler.submit(self.sequences)
        left = len(self.sequences)
        while left:
            index, delta = await self._deltas.get()
            if delta.error is not None:
                raise delta.error
            left -= delta.finish_reason is not None
            yield index, delta

    def cancel(self) -> None:
        """Drop what has not ended; harmless when everything has."""
        for sequence in self.sequences:
            sequence.cancel()

    def _deliver(self, index: int, delta: Delta) -> None:
        """Hand a delta over to the event loop; runs on the engine's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deltas.put_nowait, (index, delta))


class EventStream(StreamingResponse):
    """Server-sent events; however the response ends, ``cancel`` is called."""

    def __init__(self, events: AsyncIterator[bytes], cancel: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers["cache-control"] = "no-cache"
        self._cancel = cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; a client that goes away ends the generation."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._cancel()


async def answered_or_gone(
    request: Request, work: Awaitable[Response], cancel: Callable[[], None]
) -> Response:
    """Wait for the answer, or for the client to go away: then ``cancel`` ends the generation."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        return Response(status_code=499)
    finally:
        cancel()
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
