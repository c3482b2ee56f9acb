"""A client that leaves takes its request with it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from memedit.serving.asgi import ClientGone, Receive


class UntilClientLeaves:
    """An async context that is cancelled when the client disconnects; then raises ``ClientGone``.

    To be entered when the request body has been read: the next thing to be received can only be
    the disconnect.  What runs inside is interrupted at once, also while it waits for a decision
    or for the upstream's first byte, and so the upstream's request is aborted as well.
    """

    __slots__ = ("_inside", "_left", "_receive", "_task", "_watch")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._inside = False
        self._left = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("UntilClientLeaves has to be entered in a task")
        self._task = task
        self._inside = True
        self._watch = asyncio.create_task(self._until_disconnect())
        self._watch.add_done_callback(self._done)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # No await in here: a cancellation that was asked for has to have arrived inside.
        self._inside = False
        self._watch.cancel()
        if self._left and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientGone from None

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _done(self, watch: asyncio.Task[None]) -> None:
        if self._inside and not watch.cancelled():
            watch.exception()  # a broken receive channel is a client that left
            self._left = True
            self._task.cancel()
