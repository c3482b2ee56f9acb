"""Many questions in lockstep: each round's look-ups are one batch, and so are its completions.

For whatever answers batches at once and offline; a running server batches by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from memedit.agent.completing import Steps
from memedit.errors import MemeditError
from memedit.routing import NeedRoutes, NeedUpstream, UpstreamReply
from memedit.routing.drive import Decider

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with the number of plans that have ended, and that of all."""
CompleteAll = Callable[[Sequence[NeedUpstream]], Sequence[UpstreamReply]]


def run_together(
    plans: Sequence[Steps[T]],
    router: Decider,
    complete: CompleteAll,
    *,
    progress: Progress | None = None,
) -> list[T]:
    """Run all ``plans`` to their ends; the results are in their order.

    An error that memedit raises on purpose is thrown into every plan whose step was in the batch.
    """
    results: dict[int, T] = {}
    waiting = {number: _advance(plan, None) for number, plan in enumerate(plans)}
    while True:
        for number, need in list(waiting.items()):
            if isinstance(need, _Ended):
                results[number] = need.value
                del waiting[number]
        if progress is not None:
            progress(len(results), len(plans))
        if not waiting:
            return [results[number] for number in range(len(plans))]
        lookups = {n: need for n, need in waiting.items() if isinstance(need, NeedRoutes)}
        calls = {n: need for n, need in waiting.items() if isinstance(need, NeedUpstream)}
        answers = _looked_up(lookups, router) | _completed(calls, complete)
        waiting = {number: _advance(plans[number], answers[number]) for number in waiting}


class _Ended:
    def __init__(self, value: Any) -> None:
        self.value = value


def _advance(plan: Steps[T], answer: Any) -> NeedRoutes | NeedUpstream | _Ended:
    try:
        return plan.throw(answer) if isinstance(answer, MemeditError) else plan.send(answer)
    except StopIteration as end:
        return _Ended(end.value)


def _looked_up(needs: dict[int, NeedRoutes], router: Decider) -> dict[int, Any]:
    if not needs:
        return {}
    try:
        routes = iter(router.decide([query for need in needs.values() for query in need.queries]))
    except MemeditError as error:
        return dict.fromkeys(needs, error)
    return {number: [next(routes) for _ in need.queries] for number, need in needs.items()}


def _completed(needs: dict[int, NeedUpstream], complete: CompleteAll) -> dict[int, Any]:
    if not needs:
        return {}
    try:
        return dict(zip(needs, complete(list(needs.values())), strict=True))
    except MemeditError as error:
        return dict.fromkeys(needs, error)
