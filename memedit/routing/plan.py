"""The road of one request, without any input or output: what proxy, client and agent share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from memedit.errors import MemoryFailure
from memedit.incontext.base import NONE_SHOWN, Insertion
from memedit.routing.answering import Answerer, answered
from memedit.routing.apply import Readable, insert, read_all
from memedit.routing.counterfactual import Counterfactual, directed
from memedit.routing.guard import Guard
from memedit.routing.headers import response_headers
from memedit.routing.options import RequestOptions
from memedit.routing.providing import provided
from memedit.routing.room import room_left, served_context
from memedit.routing.route import Reason, Route, RouteQuery, joined
from memedit.routing.router import FEWER_DEMONSTRATIONS
from memedit.routing.steps import NeedRoutes, NeedUpstream, Plan, Prepared, UpstreamReply
from memedit.routing.tokens import NotTokenizable, Tokenizer
from memedit.routing.wire.base import NotRead, Prompt, TextPrompt, WireFormat
from memedit.routing.wire.document import Document
from memedit.types import Action, QueryText, Surface

OnMemoryFailure = Literal["open", "closed"]

PROMPT_ALTERED = "prompt-altered"
"""A note: the request asks for something about its own prompt, and that prompt got longer."""
ERASURE_UNGUARDED = "erasure-unguarded"
"""A note: an erased fact has no ground truth, so its answer cannot be watched for it."""
# fields whose answers show the prompt as the model saw it: text, offsets, ids or probabilities
_ABOUT_THE_PROMPT = ("echo", "logprobs", "prompt_logprobs", "return_token_ids")


class Composer(Protocol):
    """What a plan needs of a router beside its decisions; ``Router`` is one."""

    def compose(self, query: str, route: Route, surface: Surface) -> Insertion:
        """Return the text that applies ``route`` to a prompt that asks ``query``."""


def prepare(
    router: Composer,
    wire: WireFormat,
    body: bytes,
    options: RequestOptions,
    *,
    on_memory_failure: OnMemoryFailure = "open",
    adapters: bool = False,
    answerer: Answerer | None = None,
    counterfactual: Counterfactual | None = None,
) -> Plan:
    """Plan one request: read it, have it routed, apply the routes.

    Whatever cannot be read passes as it is, for the upstream to answer in its own way; a body
    that no edit changes is the very object that came in.

    No ``cache_salt`` is set: inserted text changes the prompt, and with it the key of every cache
    block from there on; an adapter's name, which is never used twice, is part of the key.  A route
    whose effect neither shows (new weights) is to join namespace and epoch to the client's own
    salt, here, beside the insertions.

    Args:
        router: takes the decisions, and writes the insertions.
        wire: the format of the body.
        body: the request's.
        options: what the client asks for.
        on_memory_failure: what is done where nothing can be decided.
        adapters: whether routes may go to an adapter, which the driver then provides.
        answerer: answers prompts that depend on edits through another hop; ``None``: these edits
            go into the context, too.
        counterfactual: the model for prompts that an edit answers by itself, where the driver can
            ask it; ``None``: these edits go into the context, too.

    Yields:
        What it needs of its driver, see ``memedit.routing.steps`` and ``memedit.routing.drive``.

    Raises:
        MemoryFailure: the memory failed and ``on_memory_failure`` is ``closed``.

    """
    if options.bypass:
        return _untouched(body, [_passing(Reason.BYPASSED, options)], options)
    document: Document | None = None
    try:
        document = _parse(body)
        prompts = wire.read(document.value)
    except NotRead as outcome:
        unread = _passing(Reason.NOT_READ, options, outcome.note)
        if document is None or not adapters:
            return _untouched(body, [unread], options)
        prompts = ()
    try:
        if not prompts:
            return (yield from _unread(wire, body, document, unread, options))
        others = (answerer, counterfactual)
        return (yield from _routed(router, wire, body, document, prompts, options, *others))
    except MemoryFailure:
        if on_memory_failure == "closed":
            raise
        failed = _passing(Reason.MEMORY_FAILED, options)
        return _untouched(body, [failed] * max(1, len(prompts)), options)
    except RecursionError:
        # the plan may be resumed deeper in the stack than where the body could just be parsed
        return _untouched(body, [_passing(Reason.NOT_READ, options, "not-json")], options)


def _unread(
    wire: WireFormat, body: bytes, document: Document, unread: Route, options: RequestOptions
) -> Plan:
    """Send a body that asks nothing in words to what is deployed for all traffic, if anything."""
    nothing = _query(QueryText(""), wire, options, document)
    deployed: list[Route] = yield NeedRoutes((nothing,))
    routes = yield from provided(document, [_with_deployed(unread, deployed[0])])
    return _finished(body, document, routes, options)


def _with_deployed(unread: Route, deployed: Route) -> Route:
    """Return the route of what was not read, with the adapter that all traffic goes through."""
    if deployed.adapter is None:
        return unread
    note = joined(unread.note, deployed.note)
    return replace(unread, action=Action.ADAPTER, adapter=deployed.adapter, note=note)


def _routed(
    router: Composer,
    wire: WireFormat,
    body: bytes,
    document: Document,
    prompts: Sequence[Prompt],
    options: RequestOptions,
    answerer: Answerer | None,
    counterfactual: Counterfactual | None,
) -> Plan:
    model = document.value.get("model")
    tokenizer = Tokenizer(model if isinstance(model, str) else None)
    gate: list[Route] = []
    if not all(isinstance(prompt, TextPrompt) for prompt in prompts):
        # reading ids costs the upstream a call per prompt: ask first whether there are edits
        nothing = _query(QueryText(""), wire, options, document)
        gate = yield NeedRoutes((nothing,))
        if gate[0].reason is Reason.NO_EDITS:
            routes = yield from provided(document, gate * len(prompts))
            return _finished(body, document, routes, options)
    try:
        readable = yield from read_all(prompts, tokenizer)
    except NotTokenizable:
        unread = _passing(Reason.NOT_READ, options, "token-ids-unreadable")
        routes = [_with_deployed(unread, gate[0])] * len(prompts)
        routes = yield from provided(document, routes)
        return _finished(body, document, routes, options)
    asked = NeedRoutes(tuple(_query(one.query, wire, options, document) for one in readable))
    decided: list[Route] = yield asked
    decided = yield from provided(document, decided)
    if answerer is not None:
        outcome = yield from answered(
            answerer, wire, body, document.value, readable, asked.queries, decided, options
        )
        if isinstance(outcome, Prepared):
            return outcome
        decided = outcome
    decided = directed(counterfactual, document, readable, decided)
    decided = yield from _with_room(router, document, readable, decided, wire.surface)
    routes, longer, erasing = list(decided), False, list[int]()
    for number, (one, route) in enumerate(zip(readable, decided, strict=True)):
        if not route.applied:
            continue
        if route.in_context:
            insertion = router.compose(one.query.text, route, wire.surface)
            try:
                written = yield from insert(document, one, insertion, tokenizer)
                note = None if written else "nothing-inserted"
            except NotTokenizable:
                written, note = False, "token-ids-unwritable"
                erasing.append(number)  # the prompt could not be changed, the answer can be watched
            longer = longer or written
            if not written:
                routes[number] = _not_written(route, note)
                continue
        if route.unguarded:
            routes[number] = replace(route, note=joined(route.note, ERASURE_UNGUARDED))
    watched = [decided[n] if n in erasing else route for n, route in enumerate(routes)]
    guard = Guard.of(watched, document.value)
    return _finished(body, document, routes, options, longer=longer, guard=guard)


def _finished(
    body: bytes,
    document: Document,
    routes: Sequence[Route],
    options: RequestOptions,
    *,
    longer: bool = False,
    guard: Guard | None = None,
) -> Prepared:
    """Return what is forwarded: the very body that came in where nothing was changed."""
    adapter = next((route.adapter for route in routes if route.adapter is not None), None)
    if not longer and adapter is None:
        return replace(_untouched(body, routes, options), guard=guard)
    altered = longer and _asks_about_its_prompt(document.value)
    note = PROMPT_ALTERED if altered else None
    headers = response_headers(routes, note=note, detail=options.detail)
    elsewhere = any(route.action is Action.COUNTERFACTUAL for route in routes)
    changed = document.to_bytes()
    return Prepared(changed, tuple(routes), True, headers, note, guard, adapter, elsewhere)


def _not_written(route: Route, note: str | None) -> Route:
    """Return the route of a prompt into which nothing could be written."""
    kept = tuple(one for one in route.applied if one not in route.in_context)
    return replace(
        route,
        action=Action.PASS if route.adapter is None else Action.ADAPTER,
        applied=kept,
        demonstrations=NONE_SHOWN,
        note=joined(route.note, note),
    )


def _with_room(
    router: Composer,
    document: Document,
    readable: Sequence[Readable],
    routes: list[Route],
    surface: Surface,
) -> Generator[NeedUpstream, UpstreamReply, list[Route]]:
    """Leave out the demonstrations for which the served model's context has no room.

    Only where there are any is the upstream asked how long its context is.
    """
    if not any(route.demonstrations.texts for route in routes):
        return routes
    context = yield from served_context(document.value.get("model"))
    if context is None:
        return routes
    fitting = []
    for one, route in zip(readable, routes, strict=True):
        if route.demonstrations.texts:
            bare = replace(route, demonstrations=NONE_SHOWN)
            inserted = router.compose(one.query.text, bare, surface)
            text = inserted.before + inserted.after
            room = room_left(context, document.value, one.prompt, text)
            shown = route.demonstrations.within(room)
            note = FEWER_DEMONSTRATIONS if shown.left_out else None
            route = replace(route, demonstrations=shown, note=joined(route.note, note))
        fitting.append(route)
    return fitting


def _parse(body: bytes) -> Document:
    try:
        return Document.parse(body)
    except ValueError:
        raise NotRead("not-json") from None


def _untouched(body: bytes, routes: Sequence[Route], options: RequestOptions) -> Prepared:
    headers = response_headers(routes, note=None, detail=options.detail)
    return Prepared(body, tuple(routes), False, headers)


def _passing(reason: Reason, options: RequestOptions, note: str | None = None) -> Route:
    return Route(Action.PASS, reason, namespaces=options.namespaces, note=note)


def _query(
    query: QueryText, wire: WireFormat, options: RequestOptions, document: Document
) -> RouteQuery:
    model = document.value.get("model")
    named = model if isinstance(model, str) else None
    return RouteQuery(query, wire.surface, options.namespaces, options.threshold, named)


def _asks_about_its_prompt(body: dict[str, Any]) -> bool:
    # by identity: 0 asks for log-probabilities too, and equals False
    return any(body.get(name) is not None and body[name] is not False for name in _ABOUT_THE_PROMPT)


__all__ = [
    "PROMPT_ALTERED",
    "Composer",
    "NeedRoutes",
    "NeedUpstream",
    "OnMemoryFailure",
    "Plan",
    "Prepared",
    "UpstreamReply",
    "prepare",
]
