from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from memedit.errors import ConflictError, MemoryFailure
from memedit.routing import Reason, Route, RouteQuery
from memedit.serving.batcher import DecisionBatcher
from memedit.types import Action, QueryText


def question(text: str) -> RouteQuery:
    return RouteQuery(QueryText(text))


def answer(query: RouteQuery) -> Route:
    return Route(Action.PASS, Reason.GATED, note=query.query.text)


class Gate:
    """A decision that waits until it is let go, and keeps what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.open = threading.Event()
        self.entered = threading.Event()

    def __call__(self, queries: Sequence[RouteQuery]) -> list[Route]:
        self.batches.append([query.query.text for query in queries])
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.open.wait(10)
        return [answer(query) for query in queries]


def run(
    decide: Callable[[Sequence[RouteQuery]], list[Route]],
    body: Callable[[DecisionBatcher], Coroutine[Any, Any, None]],
    **settings: int,
) -> None:
    async def main() -> None:
        batcher = DecisionBatcher(decide, **({"max_batch": 4} | settings))
        batcher.start()
        try:
            await asyncio.wait_for(body(batcher), 20)
        finally:
            await batcher.close()

    asyncio.run(main())


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.001)


def test_the_first_starts_at_once_and_what_arrives_meanwhile_shares_the_next_turn() -> None:
    gate = Gate()

    async def body(batcher: DecisionBatcher) -> None:
        first = asyncio.create_task(batcher.routes([question("a")]))
        await until(gate.entered.is_set)
        others = [asyncio.create_task(batcher.routes([question(name)])) for name in "bcd"]
        await asyncio.sleep(0.02)
        assert gate.batches == [["a"]]
        gate.open.set()
        notes = [(await task)[0].note for task in (first, *others)]
        assert notes == ["a", "b", "c", "d"]
        assert gate.batches == [["a"], ["b", "c", "d"]]
        assert len(gate.threads) == 1
        assert threading.get_ident() not in gate.threads

    run(gate, body)


def test_a_turn_has_at_most_max_batch_prompts_and_keeps_requests_together() -> None:
    gate = Gate()

    async def body(batcher: DecisionBatcher) -> None:
        first = asyncio.create_task(batcher.routes([question("a")]))
        await until(gate.entered.is_set)
        sizes = [3, 2, 1, 9]
        tasks = [
            asyncio.create_task(batcher.routes([question(f"{n}.{i}") for i in range(size)]))
            for n, size in enumerate(sizes)
        ]
        await asyncio.sleep(0.02)
        gate.open.set()
        await first
        for n, (size, task) in enumerate(zip(sizes, tasks, strict=True)):
            assert [route.note for route in await task] == [f"{n}.{i}" for i in range(size)]
        assert [len(batch) for batch in gate.batches] == [1, 3, 3, 4, 4, 1]

    run(gate, body)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryFailure("disk"), MemoryFailure),
        (ConflictError("x"), ConflictError),
        (ZeroDivisionError("secret prompt"), MemoryFailure),
    ],
)
def test_an_error_reaches_each_waiter_of_its_batch_and_no_other(
    raised: Exception, expected: type[Exception]
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def decide(queries: Sequence[RouteQuery]) -> list[Route]:
        entered.set()
        assert go_on.wait(10)
        if any(query.query.text == "bad" for query in queries):
            raise raised
        return [answer(query) for query in queries]

    async def body(batcher: DecisionBatcher) -> None:
        fine = asyncio.create_task(batcher.routes([question("fine")]))
        await until(entered.is_set)
        together = [asyncio.create_task(batcher.routes([question(t)])) for t in ("bad", "good")]
        await asyncio.sleep(0.02)
        go_on.set()
        assert (await fine)[0].note == "fine"
        for task in together:
            with pytest.raises(expected) as caught:
                await task
            assert "secret" not in str(caught.value)
        assert (await batcher.routes([question("after")]))[0].note == "after"

    run(decide, body)


def test_a_wrong_number_of_routes_is_a_failure_not_a_wrong_answer() -> None:
    async def body(batcher: DecisionBatcher) -> None:
        with pytest.raises(MemoryFailure, match="1 routes for 2 prompts"):
            await batcher.routes([question("a"), question("b")])

    run(lambda queries: [answer(queries[0])], body)


def test_a_waiter_that_gave_up_is_not_decided() -> None:
    gate = Gate()

    async def body(batcher: DecisionBatcher) -> None:
        first = asyncio.create_task(batcher.routes([question("a")]))
        await until(gate.entered.is_set)
        gone = asyncio.create_task(batcher.routes([question("gone")]))
        stays = asyncio.create_task(batcher.routes([question("stays")]))
        await asyncio.sleep(0.02)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        gate.open.set()
        await first
        assert (await stays)[0].note == "stays"
        assert gate.batches == [["a"], ["stays"]]

    run(gate, body)


def test_more_waiters_than_may_wait_are_told_so_at_once() -> None:
    gate = Gate()

    async def body(batcher: DecisionBatcher) -> None:
        waiting = [asyncio.create_task(batcher.routes([question(n)])) for n in "ab"]
        await until(gate.entered.is_set)
        with pytest.raises(MemoryFailure, match="already wait"):
            await batcher.routes([question("c")])
        gate.open.set()
        await asyncio.gather(*waiting)
        assert (await batcher.routes([question("d")]))[0].note == "d"

    run(gate, body, max_waiting=2)


def test_closing_decides_what_waits_and_refuses_what_comes() -> None:
    gate = Gate()

    async def main() -> None:
        batcher = DecisionBatcher(gate, max_batch=1)
        batcher.start()
        tasks = [asyncio.create_task(batcher.routes([question(n)])) for n in "abc"]
        await until(gate.entered.is_set)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        with pytest.raises(MemoryFailure, match="stopping"):
            await batcher.routes([question("late")])
        gate.open.set()
        await closing
        assert [(await task)[0].note for task in tasks] == ["a", "b", "c"]

    asyncio.run(main())
    assert not any(thread.name == "memedit-decide" for thread in threading.enumerate())


def test_a_hundred_at_once_each_get_their_own() -> None:
    seen: list[int] = []

    def decide(queries: Sequence[RouteQuery]) -> list[Route]:
        return [answer(query) for query in queries]

    async def main() -> None:
        batcher = DecisionBatcher(decide, max_batch=8, observe=seen.append)
        batcher.start()
        routes = await asyncio.gather(*(batcher.routes([question(str(n))]) for n in range(100)))
        assert [one[0].note for one in routes] == [str(n) for n in range(100)]
        await batcher.close()

    asyncio.run(main())
    assert sum(seen) == 100
    assert max(seen) <= 8
