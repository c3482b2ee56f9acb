from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from memedit.errors import MemoryFailure, UpstreamTimeout
from memedit.routing import (
    NeedUpstream,
    Plan,
    RequestOptions,
    Route,
    RouteQuery,
    Router,
    UpstreamReply,
    prepare,
    run_async,
    run_sync,
    wire_for,
)
from tests.routing.tiny_memory import DAY_ONE, TinyMemory, edit, router
from tests.routing.toy_upstream import ToyUpstream

ASKED = "The capital of France is"


def plan(by: Router, prompt: object, **policy: object) -> Plan:
    wire = wire_for("POST", "/v1/completions")
    assert wire is not None
    body = json.dumps({"prompt": prompt}).encode()
    return prepare(by, wire, body, RequestOptions(), **policy)  # type: ignore[arg-type]


def waiting(by: Router, upstream: ToyUpstream, road: Plan):  # type: ignore[no-untyped-def]
    async def decide(queries: Sequence[RouteQuery]) -> list[Route]:
        await asyncio.sleep(0)
        return by.decide(queries)

    async def call(need: NeedUpstream) -> UpstreamReply:
        await asyncio.sleep(0)
        return upstream(need)

    return asyncio.run(run_async(road, decide, call))


def test_both_drivers_come_to_the_same_end() -> None:
    upstream, by = ToyUpstream(), router(edit())
    for prompt in (ASKED, [ASKED, "x"], upstream.ids(ASKED), "Birds sing", 7):
        one = run_sync(plan(by, prompt), by, upstream)
        assert waiting(by, upstream, plan(by, prompt)) == one


class Dead(TinyMemory):
    def refresh(self) -> bool:
        raise MemoryFailure("locked")


def test_failures_are_thrown_into_the_plan() -> None:
    by, upstream = router(memory=Dead([])), ToyUpstream()
    assert run_sync(plan(by, ASKED), by, upstream).headers["x-memedit-reason"] == "memory_failed"
    assert waiting(by, upstream, plan(by, ASKED)).headers["x-memedit-reason"] == "memory_failed"
    with pytest.raises(MemoryFailure, match="locked"):
        run_sync(plan(by, ASKED, on_memory_failure="closed"), by, upstream)
    with pytest.raises(MemoryFailure, match="locked"):
        waiting(by, upstream, plan(by, ASKED, on_memory_failure="closed"))


def test_an_upstream_failure_too() -> None:
    by = router(edit())

    def late(need: NeedUpstream) -> UpstreamReply:
        raise UpstreamTimeout("no answer within 1 s")

    out = run_sync(plan(by, [1, 2]), by, late)
    assert not out.touched
    assert out.headers["x-memedit-note"] == "token-ids-unreadable"


def test_a_bug_is_not_hidden_and_the_plan_is_closed() -> None:
    by = router(edit(created=DAY_ONE))

    def bug(need: NeedUpstream) -> UpstreamReply:
        raise ZeroDivisionError

    road = plan(by, [1, 2])
    with pytest.raises(ZeroDivisionError):
        run_sync(road, by, bug)
    with pytest.raises(StopIteration):
        next(road)
