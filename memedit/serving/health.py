"""Liveness and readiness: whether this process is alive, and whether it can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from multidict import CIMultiDict

from memedit.errors import MemeditError
from memedit.serving.asgi import Reply
from memedit.serving.upstream import Upstream, drained

PATIENCE_SECONDS = 3.0
"""What does not answer within this is not ready."""


def alive() -> Reply:
    """Answer /healthz: the event loop turns."""
    return Reply.of_json(200, {"status": "ok"})


class Readiness:
    """Answers /readyz: the memory answers, and so does the upstream."""

    def __init__(self, upstream: Upstream, ask_memory: Callable[[], object]) -> None:
        self._upstream = upstream
        self._ask_memory = ask_memory

    async def reply(self) -> Reply:
        """Return 200 when all is well, else 503; the body gives each part and what is wrong."""
        memory, upstream = await asyncio.gather(self._memory(), self._model_server())
        checks = {"memory": memory, "upstream": upstream}
        ready = all(wrong is None for wrong in checks.values())
        return Reply.of_json(
            200 if ready else 503,
            {
                "status": "ready" if ready else "not_ready",
                "checks": {
                    name: {"ok": wrong is None} | ({} if wrong is None else {"reason": wrong})
                    for name, wrong in checks.items()
                },
            },
        )

    async def _memory(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.to_thread(self._ask_memory)
        except TimeoutError:
            return f"no answer within {PATIENCE_SECONDS:g} s"
        except MemeditError as error:
            return error.code
        except Exception as error:
            return type(error).__name__
        return None

    async def _model_server(self) -> str | None:
        try:
            async with self._upstream.request(
                "GET", b"/health", b"", CIMultiDict(), b"", timeout=PATIENCE_SECONDS
            ) as response:
                await drained(response, 2**16)
                # Servers that know no /health say 404, and are there all the same.
                return None if response.status < 500 else f"/health answers {response.status}"
        except MemeditError as error:
            return f"{error.code}: {error}"
