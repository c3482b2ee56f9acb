"""SERAC: a prompt that an edit answers by itself goes to a model of its own, the edit before it.

The router makes the decision; the plan writes the edit into the request and names the model.  What
that model cannot be asked, or does not answer, gets its edits in the context, as without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from memedit.incontext.base import Insertion
from memedit.incontext.counterfactual import edit_text
from memedit.routing.answering import asks_for_more, has_more_than_text
from memedit.routing.apply import Readable
from memedit.routing.contradicting import said_of
from memedit.routing.route import Route, joined
from memedit.routing.wire.base import TextPrompt, WireFormat
from memedit.routing.wire.choices import ChoiceAnswers
from memedit.routing.wire.document import Document
from memedit.types import Action, Operation, ScopeLabel

METHOD: Final = "serac"
FAILED: Final = "serac-failed"
"""Begins a note: the counterfactual model gave no answer; behind a colon stands why."""
UNFIT: Final = "serac-unfit"
"""Begins a note: the request asks for what it cannot give; behind a colon stands what."""


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The counterfactual model as far as a plan knows it."""

    model: str
    """The name that its server serves it under."""
    failed: str | None = None
    """Why it is not asked (again), in a word for headers and logs."""


def to_counterfactual(route: Route) -> Route:
    """Return the route to the counterfactual model, or the very same where that is not for it.

    It is asked where an edit answers the prompt by itself; as in the paper only the most probable
    edit is shown to it.  Where others erase something the prompt stays in context: each of them has
    to be heeded.
    """
    if route.action is not Action.IN_CONTEXT or not route.applied:
        return route
    first, *others = route.applied
    if first.label is not ScopeLabel.DIRECT:
        return route
    if any(one.candidate.edit.request.operation is Operation.ERASE for one in others):
        return route
    return Route(
        Action.COUNTERFACTUAL,
        route.reason,
        route.namespaces,
        METHOD,
        (first,),
        route.considered,
        note=said_of(route.left_out),
        instead=route,
        left_out=route.left_out,
    )


def without_counterfactual(route: Route, note: str) -> Route:
    """Return the route as it is in context, ``note`` saying why; another route as it is."""
    if route.instead is None:
        return route
    return replace(route.instead, note=joined(route.instead.note, note))


def insertion_of(route: Route) -> Insertion:
    """Return what stands before the prompt of a route to the counterfactual model."""
    [decision] = route.applied
    return Insertion(edit_text(decision.candidate.edit.request))


def directed(
    counterfactual: Counterfactual | None,
    document: Document,
    readable: Sequence[Readable],
    routes: Sequence[Route],
) -> list[Route]:
    """Name the counterfactual model in the body, or return the routes as they are in context.

    A body names one model, so its prompts all go there, or none does.
    """
    if all(route.action is not Action.COUNTERFACTUAL for route in routes):
        return list(routes)
    if counterfactual is None:
        note: str | None = f"{FAILED}:not-served"
    elif counterfactual.failed is not None:
        note = f"{FAILED}:{counterfactual.failed}"
    else:
        why = _unfit(document.value, readable, routes)
        note = None if why is None else f"{UNFIT}:{why}"
    if note is not None or counterfactual is None:
        return [without_counterfactual(route, note or FAILED) for route in routes]
    document.set_text("model", counterfactual.model)
    return list(routes)


def broken_stream(wire: WireFormat, content_type: str, body: bytes) -> bool:
    """Tell whether a whole answer is a stream of events that ended early, or in an error."""
    if not content_type.strip().lower().startswith("text/event-stream"):
        return False
    if isinstance(wire.answers, ChoiceAnswers):
        lines = body.rstrip().splitlines()
        return lines[-1:] != [b"data: [DONE]"] or any(map(_is_error, lines))
    return not body.endswith(b"\n\n")


def _is_error(line: bytes) -> bool:
    return line.replace(b" ", b"").startswith(b'data:{"error"')


def _unfit(
    value: dict[str, Any], readable: Sequence[Readable], routes: Sequence[Route]
) -> str | None:
    """Return what keeps the counterfactual model from being asked, if anything does."""
    if any(route.action is not Action.COUNTERFACTUAL for route in routes):
        return "mixed-batch"
    if not all(isinstance(one.prompt, TextPrompt) for one in readable):
        return "token-ids"  # of another tokenizer
    if any(has_more_than_text(value, one.prompt) for one in readable):
        return "parts"
    if any(_continues(value, one) for one in readable):
        return "continues"
    return asks_for_more(value)


def _continues(value: dict[str, Any], one: Readable) -> bool:
    """Tell whether other turns stand behind the one that asks, such as the results of tools."""
    path = one.prompt.place.path
    turns = value.get(path[0]) if isinstance(path[0], str) else None
    return isinstance(turns, list) and path[0] != "prompt" and path[1] != len(turns) - 1
