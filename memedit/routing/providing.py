"""Sending a request to its adapter: one for all its prompts, or none."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final

from memedit.routing.adapting import without_adapter
from memedit.routing.route import Route
from memedit.routing.steps import AdapterUnavailable, NeedAdapter
from memedit.routing.wire.document import Document

MIXED_BATCH: Final = "adapter-mixed-batch"
"""A note: the prompts of a batch do not all go to one adapter, and a body names one model."""
FAILED: Final = "adapter-failed"
"""Begins a note: the adapter could not be used; behind a colon stands why."""


def provided(
    document: Document, routes: Sequence[Route]
) -> Generator[NeedAdapter, None, list[Route]]:
    """Have the adapter of a request's routes made ready, and name it in the body as its model.

    Returns:
        The routes as they can be kept: without the adapter where it cannot be used.

    """
    names = {route.adapter for route in routes}
    if names == {None}:
        return list(routes)
    name = names.pop()
    if names or name is None:
        return [without_adapter(route, MIXED_BATCH) for route in routes]
    model = document.value.get("model")
    try:
        if model is not None and not isinstance(model, str):
            raise AdapterUnavailable("the request names no model", "other-model")
        yield NeedAdapter(name, model)
    except AdapterUnavailable as error:
        return [without_adapter(route, f"{FAILED}:{error.reason}") for route in routes]
    document.set_text("model", name)
    return list(routes)


def foreseen_provided(route: Route, fault: Callable[[str], str | None] | None) -> Route:
    """Return the route that ``provided`` would keep, as far as shows without asking the server.

    Args:
        route: what the router decided.
        fault: says in a word why an adapter cannot be used, or ``None`` where nothing is known;
            ``None``: of no adapter anything is.

    """
    why = None if route.adapter is None or fault is None else fault(route.adapter)
    return route if why is None else without_adapter(route, f"{FAILED}:{why}")
