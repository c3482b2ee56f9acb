"""Drives a plan: hands each step to those who can do it, and the answer back.

A plan is any generator of these steps: a request on its way, or a question that an agent follows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar

from memedit.errors import MemeditError
from memedit.routing.route import Route, RouteQuery
from memedit.routing.steps import (
    AdapterUnavailable,
    Need,
    NeedAdapter,
    NeedRoutes,
    NeedUpstream,
    UpstreamReply,
)

T = TypeVar("T")


class Decider(Protocol):
    """Whoever decides about prompts; ``Router`` is one."""

    def decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
        """Return one route per query."""


def run_sync(
    plan: Generator[Need, Any, T],
    router: Decider,
    call_upstream: Callable[[NeedUpstream], UpstreamReply],
    provide: Callable[[NeedAdapter], None] | None = None,
) -> T:
    """Run ``plan`` to its end in this thread.

    ``provide`` sees to adapters; without it none can be used.  Errors that memedit raises on
    purpose are thrown into the plan, which knows the policy; any other leaves at once.

    Raises:
        MemoryFailure: the memory failed and the plan's policy is to say so.

    """
    send: Callable[[Any], Need] = plan.send
    answer: Any = None
    try:
        while True:
            need = send(answer)
            send = plan.send
            try:
                if isinstance(need, NeedRoutes):
                    answer = router.decide(need.queries)
                elif isinstance(need, NeedAdapter):
                    _need(provide)(need)
                    answer = None
                else:
                    answer = call_upstream(need)
            except MemeditError as error:
                send, answer = plan.throw, error
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        plan.close()


async def run_async(
    plan: Generator[Need, Any, T],
    decide: Callable[[Sequence[RouteQuery]], Awaitable[list[Route]]],
    call_upstream: Callable[[NeedUpstream], Awaitable[UpstreamReply]],
    provide: Callable[[NeedAdapter], Awaitable[None]] | None = None,
) -> T:
    """Run ``plan`` to its end, awaiting ``decide`` and ``call_upstream``; else like ``run_sync``.

    Raises:
        MemoryFailure: the memory failed and the plan's policy is to say so.

    """
    send: Callable[[Any], Need] = plan.send
    answer: Any = None
    try:
        while True:
            need = send(answer)
            send = plan.send
            try:
                if isinstance(need, NeedRoutes):
                    answer = await decide(need.queries)
                elif isinstance(need, NeedAdapter):
                    await _need(provide)(need)
                    answer = None
                else:
                    answer = await call_upstream(need)
            except MemeditError as error:
                send, answer = plan.throw, error
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        plan.close()


def _need(provide: T | None) -> T:
    if provide is None:
        raise AdapterUnavailable("nothing here loads adapters; serve through 'memedit serve'")
    return provide
