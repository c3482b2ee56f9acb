"""Preparing a body with every prompt in scope, and comparing bodies to the last leaf."""

from __future__ import annotations

import json
from typing import Any

from memedit.routing import (
    Prepared,
    Reason,
    RequestOptions,
    Route,
    RouteQuery,
    WireFormat,
    prepare,
    run_sync,
)
from memedit.types import Action, Candidate, Surface
from tests.routing.tiny_memory import decided, edit, router
from tests.routing.toy_upstream import no_upstream

INSERTED = {
    Surface.CHAT: "Updated facts, which replace what you know:\n"
    "- The capital of France is Norwick.\n\n",
    Surface.COMPLETION: "Imagine that the capital of France is Norwick.\n",
}
EDIT = decided(Candidate(edit(), 1.0, "The capital of France is"), 1.0)


class Always:
    """Decides the same about every prompt, and remembers what it was asked."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.asked: list[RouteQuery] = []

    def decide(self, queries: Any) -> list[Route]:
        self.asked.extend(queries)
        if self.action is Action.PASS:
            return [Route(Action.PASS, Reason.OUT_OF_SCOPE) for _ in queries]
        return [
            Route(Action.IN_CONTEXT, Reason.IN_SCOPE, method="statement", applied=(EDIT,))
            for _ in queries
        ]


def prepared(wire: WireFormat, body: bytes, action: Action = Action.IN_CONTEXT) -> Prepared:
    plan = prepare(router(edit()), wire, body, RequestOptions())
    return run_sync(plan, Always(action), no_upstream)


def at(body: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


def differences(one: Any, other: Any, path: tuple[str | int, ...] = ()) -> list[Any]:
    """Return (path, one, other) of every leaf that differs; a differing shape is a leaf."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        return [d for key in one for d in differences(one[key], other[key], (*path, key))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            d
            for i, (a, b) in enumerate(zip(one, other, strict=True))
            for d in differences(a, b, (*path, i))
        ]
    return [] if type(one) is type(other) and one == other else [(path, one, other)]


def exactly(body: bytes) -> Any:
    """Parse with every number as its own spelling."""
    return json.loads(
        body.decode("utf-8-sig"),
        parse_float=lambda text: ("float", text),
        parse_int=lambda text: ("int", text),
        parse_constant=lambda text: ("constant", text),
    )
