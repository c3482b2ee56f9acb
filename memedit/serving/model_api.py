"""The model API: read, have it routed, forward, pass the answer on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import aiohttp
from multidict import CIMultiDict
from opentelemetry import trace

from memedit.config import ServeSettings
from memedit.errors import MemoryFailure
from memedit.routing import (
    AdapterUnavailable,
    NeedAdapter,
    NeedUpstream,
    OwnAnswer,
    Plan,
    Prepared,
    RequestOptions,
    UpstreamReply,
    WireFormat,
    prepare,
    run_async,
    run_sync,
)
from memedit.routing.answering import Answerer
from memedit.routing.counterfactual import Counterfactual
from memedit.routing.plan import Composer
from memedit.serving.adapter_calls import is_refusal
from memedit.serving.asgi import Receive, Reply, Scope, Send, read_body
from memedit.serving.auth import Guard
from memedit.serving.batcher import DecisionBatcher
from memedit.serving.bridge import Bridge
from memedit.serving.counterfactual import CounterfactualServer, CounterfactualUnavailable
from memedit.serving.departure import UntilClientLeaves
from memedit.serving.exchange import Exchange
from memedit.serving.guarded import relay_watched, watched
from memedit.serving.metrics import Metrics
from memedit.serving.residency import Residency
from memedit.serving.upstream import Upstream, drained, pass_whole, relay, request_headers

LONG_BODY = 2**18
"""Bodies beyond this are parsed in a thread: a millisecond and more that others need not wait."""
FORGOTTEN = "forgotten"
"""Why an adapter cannot be used that the served model takes, and then does not know."""
LONGEST_ANSWER = 2**24
"""Of ``/tokenize`` and ``/detokenize``, in bytes."""


class ModelApi:
    """Answers requests of the wire formats that memedit reads.

    Args:
        namespace: the namespace of requests that name none.

    """

    def __init__(
        self,
        settings: ServeSettings,
        router: Composer,
        batcher: DecisionBatcher,
        upstream: Upstream,
        guard: Guard,
        metrics: Metrics,
        namespace: str,
        residency: Residency | None = None,
        answerer: Answerer | None = None,
        counterfactual: CounterfactualServer | None = None,
    ) -> None:
        self._settings = settings
        self._router = router
        self._batcher = batcher
        self._upstream = upstream
        self._guard = guard
        self._metrics = metrics
        self._namespaces = (namespace,)
        self._residency = residency
        self._answerer = answerer
        self._counterfactual = counterfactual
        self._tracer = trace.get_tracer("memedit")

    async def answer(
        self, wire: WireFormat, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request; every error goes up, ``exchange`` tells how far it came."""
        given = scope["headers"]
        self._guard.check_inference(given)
        asked = [pair for pair in given if pair[0].startswith(b"x-memedit-")]
        self._guard.check_options(asked)
        options = RequestOptions.from_headers(asked, namespaces=self._namespaces)
        body = await read_body(scope, receive, self._settings.max_body_bytes)
        exchange.bytes_in = len(body)
        headers = request_headers(given, self._guard.credentials(given))
        with self._tracer.start_as_current_span(
            "memedit.request", attributes={"memedit.wire": wire.name}
        ) as span:
            async with UntilClientLeaves(receive):
                # A served model that was restarted has forgotten its adapters: it is given them
                # once more, and then the edits go into the context instead, as they do at once
                # where it refuses an adapter.
                provide: Callable[..., Coroutine[Any, Any, None]] = self._provide
                again = True
                while True:
                    async with AsyncExitStack() as held:
                        ready = partial(provide, held=held, headers=headers)
                        about = (wire, exchange, body, options, headers, ready)
                        prepared = await self._prepare(*about)
                        if prepared.counterfactual:
                            failed = await self._elsewhere(wire, exchange, prepared, scope, send)
                            if failed is None:
                                return
                            prepared = await self._prepare(*about, failed)
                        span.set_attributes(
                            {"memedit.route": exchange.route, "memedit.reason": exchange.reason}
                        )
                        lost = await self._forwarded(wire, exchange, prepared, scope, headers, send)
                        if lost is None:
                            return
                    if not again or lost.reason != FORGOTTEN:
                        provide = partial(_unavailable, error=lost)
                    again = False

    async def _forwarded(
        self,
        wire: WireFormat,
        exchange: Exchange,
        prepared: Prepared,
        scope: Scope,
        headers: CIMultiDict[str],
        send: Send,
    ) -> AdapterUnavailable | None:
        """Forward a request and pass its answer on.

        Returns:
            Why nothing was passed on: the served model does not know the adapter, or refuses it.

        """
        if prepared.answer is not None:
            exchange.status = 200
            exchange.started = True
            exchange.bytes_out = len(prepared.answer.body)
            await own_reply(prepared.answer, prepared.headers).send(send)
            return None
        sent = headers
        if prepared.guard is not None:
            sent = headers.copy()
            sent["accept-encoding"] = "identity"
        async with self._upstream.request(
            "POST", scope["raw_path"], scope["query_string"], sent, prepared.body
        ) as response:
            exchange.status = response.status
            if prepared.adapter is not None and self._residency is not None:
                self._metrics.adapter_requests.inc()
                if response.status in (400, 404):
                    said = await drained(response, LONGEST_ANSWER)
                    if response.status == 404 and prepared.adapter.encode() in said:
                        await self._residency.forgotten(prepared.adapter, headers)
                        return AdapterUnavailable(
                            f"the served model forgot {prepared.adapter} twice", FORGOTTEN
                        )
                    if is_refusal(prepared.adapter, response.status, said):
                        return self._residency.refused(prepared.adapter, said)
                    exchange.started = True
                    exchange.bytes_out = await pass_whole(response, send, prepared.headers, said)
                    return None
            if prepared.guard is not None and response.status == 200:
                await self._guarded(wire, exchange, prepared, response, send)
                return None
            exchange.started = True
            exchange.bytes_out = await relay(response, send, prepared.headers)
            return None

    async def _elsewhere(
        self,
        wire: WireFormat,
        exchange: Exchange,
        prepared: Prepared,
        scope: Scope,
        send: Send,
    ) -> Counterfactual | None:
        """Have the counterfactual model answer; return it as failed where it gave no answer."""
        server = self._counterfactual
        if server is None:
            raise RuntimeError("a plan named a counterfactual model that nobody gave it")
        try:
            reply, outcome = await server.ask(wire, scope, prepared)
        except CounterfactualUnavailable as error:
            return replace(server.model, failed=error.reason)
        if prepared.guard is not None:
            exchange.guard = outcome
            self._metrics.guarded.labels(outcome).inc()
        exchange.status = 200
        exchange.started = True
        exchange.bytes_out = len(reply.body)
        await reply.send(send)
        return None

    async def _provide(
        self, need: NeedAdapter, *, held: AsyncExitStack, headers: CIMultiDict[str]
    ) -> None:
        """Have the served model load an adapter, and keep it until the answer has been sent."""
        if self._residency is None:
            raise AdapterUnavailable("no adapters are served here; set adapters.library")
        await held.enter_async_context(self._residency.using(need.name))
        await self._residency.provide(need.name, need.model, headers)

    async def _guarded(
        self,
        wire: WireFormat,
        exchange: Exchange,
        prepared: Prepared,
        response: aiohttp.ClientResponse,
        send: Send,
    ) -> None:
        """Pass on an answer that must not tell an erased fact."""
        if prepared.guard is None:
            return
        answer = watched(prepared.guard, wire, response)
        # until a whole answer has been read, another can still be given in its place
        exchange.started = not answer.whole
        try:
            exchange.bytes_out = await relay_watched(response, send, prepared.headers, answer)
            exchange.started = True
        finally:
            exchange.guard = answer.outcome
            self._metrics.guarded.labels(answer.outcome).inc()

    async def _prepare(
        self,
        wire: WireFormat,
        exchange: Exchange,
        body: bytes,
        options: RequestOptions,
        headers: CIMultiDict[str],
        provide: Callable[[NeedAdapter], Coroutine[Any, Any, None]],
        counterfactual: Counterfactual | None = None,
    ) -> Prepared:
        """Decide and write; ``counterfactual`` stands in for that model once it has failed."""
        if counterfactual is None and self._counterfactual is not None:
            counterfactual = self._counterfactual.model
        begun = time.perf_counter()
        plan = prepare(
            self._router,
            wire,
            body,
            options,
            on_memory_failure=self._settings.on_memory_failure,
            adapters=self._residency is not None,
            answerer=self._answerer,
            counterfactual=counterfactual,
        )
        try:
            prepared = await self._drive(plan, headers, provide, in_thread=len(body) > LONG_BODY)
        except MemoryFailure:
            self._metrics.memory_failures.inc()
            raise
        exchange.decision_seconds = time.perf_counter() - begun
        if all(route.agent is None for route in prepared.routes):  # whose hops are no decision
            self._metrics.decision_seconds.observe(exchange.decision_seconds)
        exchange.take(prepared)
        if exchange.reason == "memory_failed":
            self._metrics.memory_failures.inc()
        if prepared.touched:
            self._metrics.edits_applied.inc(sum(len(route.in_context) for route in prepared.routes))
        return prepared

    async def _drive(
        self,
        plan: Plan,
        headers: CIMultiDict[str],
        provide: Callable[[NeedAdapter], Coroutine[Any, Any, None]],
        *,
        in_thread: bool,
    ) -> Prepared:
        """Give a plan what it asks for until it is done."""

        async def ask(need: NeedUpstream) -> UpstreamReply:
            return await self._ask(need, headers)

        if not in_thread:
            return await run_async(plan, self._batcher.routes, ask, provide)
        bridge = Bridge(asyncio.get_running_loop(), self._batcher.routes, ask, provide)
        return await asyncio.to_thread(run_sync, plan, bridge, bridge.ask, bridge.provide)

    async def _ask(self, need: NeedUpstream, headers: CIMultiDict[str]) -> UpstreamReply:
        """Ask the upstream something on a plan's behalf, with the client's own headers."""
        own = headers.copy()
        # These speak of the client's body and answer, not of ours.
        for name in ("content-type", "content-encoding", "accept-encoding", "accept"):
            own.popall(name, None)
        own["content-type"] = "application/json"
        async with self._upstream.request(
            need.method, need.path.encode("ascii"), b"", own, need.body, need.timeout
        ) as response:
            return UpstreamReply(response.status, await drained(response, LONGEST_ANSWER))


def own_reply(answer: OwnAnswer, headers: Mapping[str, str]) -> Reply:
    """Return an answer of ours as what is sent."""
    pairs = tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items())
    return Reply(200, answer.body, answer.content_type.encode(), pairs)


async def _unavailable(
    need: NeedAdapter,
    *,
    held: AsyncExitStack,
    headers: CIMultiDict[str],
    error: AdapterUnavailable,
) -> None:
    raise error
