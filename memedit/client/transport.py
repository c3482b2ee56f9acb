"""Transports that put edits under any SDK built on httpx2: no proxy is running.

They drive the same request plan as the proxy does, on the way from the SDK to the model's server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx2

from memedit.client.counterfactual import CounterfactualCall
from memedit.client.guarded import async_guarded, guarded
from memedit.client.road import Road, forwarded, lost, own_response, refusal, side_request
from memedit.errors import MemeditError
from memedit.routing import Prepared, UpstreamReply, WireFormat, run_async, run_sync, wire_for
from memedit.routing.counterfactual import Counterfactual
from memedit.wiring import (
    counterfactual_settings,
    open_answerer,
    open_memory,
    open_router,
    read_settings,
)

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.memory import EditMemory


class EditingTransport(httpx2.BaseTransport):
    """Sends what an SDK sends, with the edits that concern it; ``owned`` is closed with it."""

    def __init__(
        self, road: Road, inner: httpx2.BaseTransport, owned: EditMemory | None = None
    ) -> None:
        self.road = road
        self.inner = inner
        self.owned = owned

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Route one request, send it, and say in the response's headers what was done."""
        wire = wire_for(request.method, request.url.path)
        if wire is None:
            return self.inner.handle_request(request)
        request.read()
        try:
            prepared = self._prepared(wire, request)
            if prepared.counterfactual:
                found = self._elsewhere(wire, prepared)
                if isinstance(found, httpx2.Response):
                    return found
                prepared = self._prepared(wire, request, found)
        except MemeditError as error:
            return refusal(wire, error)
        if prepared.answer is not None:
            return own_response(prepared.answer, prepared)
        response = self.inner.handle_request(forwarded(request, prepared))
        response.headers.update(prepared.headers)
        if prepared.guard is None or response.status_code != 200:
            return response
        return guarded(wire, prepared.guard, response)

    def _prepared(
        self, wire: WireFormat, request: httpx2.Request, failed: Counterfactual | None = None
    ) -> Prepared:
        return run_sync(
            self.road.plan(wire, request, failed),
            self.road.router,
            lambda step: self._call(side_request(request, wire, step)),
        )

    def _elsewhere(
        self, wire: WireFormat, prepared: Prepared
    ) -> httpx2.Response | Counterfactual | None:
        """Ask the counterfactual model; return its whole answer, or it as failed."""
        call = self.road.counterfactual
        if call is None:
            return None
        try:
            response = self.inner.handle_request(call.request(wire, prepared))
            response.read()
        except httpx2.TransportError as error:
            return call.lost(error)
        failed = call.failed(wire, response)
        if failed is not None:
            return failed
        response.headers.update(prepared.headers)
        return response if prepared.guard is None else guarded(wire, prepared.guard, response)

    def _call(self, request: httpx2.Request) -> UpstreamReply:
        try:
            reply = self.inner.handle_request(request)
            return UpstreamReply(reply.status_code, reply.read())
        except httpx2.TransportError as error:
            raise lost(error) from error

    def close(self) -> None:
        """Close the connections, and the memory if it was opened here."""
        self.inner.close()
        if self.owned is not None:
            self.owned.close()


class AsyncEditingTransport(httpx2.AsyncBaseTransport):
    """``EditingTransport`` for asynchronous SDKs; decisions are made in a worker thread."""

    def __init__(
        self, road: Road, inner: httpx2.AsyncBaseTransport, owned: EditMemory | None = None
    ) -> None:
        self.road = road
        self.inner = inner
        self.owned = owned

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Route one request, send it, and say in the response's headers what was done."""
        wire = wire_for(request.method, request.url.path)
        if wire is None:
            return await self.inner.handle_async_request(request)
        await request.aread()
        try:
            prepared = await self._prepared(wire, request)
            if prepared.counterfactual:
                found = await self._elsewhere(wire, prepared)
                if isinstance(found, httpx2.Response):
                    return found
                prepared = await self._prepared(wire, request, found)
        except MemeditError as error:
            return refusal(wire, error)
        if prepared.answer is not None:
            return own_response(prepared.answer, prepared)
        response = await self.inner.handle_async_request(forwarded(request, prepared))
        response.headers.update(prepared.headers)
        if prepared.guard is None or response.status_code != 200:
            return response
        return await async_guarded(wire, prepared.guard, response)

    async def _prepared(
        self, wire: WireFormat, request: httpx2.Request, failed: Counterfactual | None = None
    ) -> Prepared:
        return await run_async(
            self.road.plan(wire, request, failed),
            lambda queries: anyio.to_thread.run_sync(self.road.router.decide, queries),
            lambda step: self._call(side_request(request, wire, step)),
        )

    async def _elsewhere(
        self, wire: WireFormat, prepared: Prepared
    ) -> httpx2.Response | Counterfactual | None:
        """Ask the counterfactual model; return its whole answer, or it as failed."""
        call = self.road.counterfactual
        if call is None:
            return None
        try:
            response = await self.inner.handle_async_request(call.request(wire, prepared))
            await response.aread()
        except httpx2.TransportError as error:
            return call.lost(error)
        failed = call.failed(wire, response)
        if failed is not None:
            return failed
        response.headers.update(prepared.headers)
        if prepared.guard is None:
            return response
        return await async_guarded(wire, prepared.guard, response)

    async def _call(self, request: httpx2.Request) -> UpstreamReply:
        try:
            reply = await self.inner.handle_async_request(request)
            return UpstreamReply(reply.status_code, await reply.aread())
        except httpx2.TransportError as error:
            raise lost(error) from error

    async def aclose(self) -> None:
        """Close the connections, and the memory if it was opened here."""
        await self.inner.aclose()
        if self.owned is not None:
            self.owned.close()


def http_client(
    memory: str | EditMemory | None = None,
    *,
    settings: Settings | None = None,
    transport: httpx2.BaseTransport | None = None,
    **options: Any,
) -> httpx2.Client:
    """Return an HTTP client that answers with edits; hand it to an SDK as its ``http_client``.

    >>> client = openai.OpenAI(http_client=memedit.http_client("sqlite:///edits.db"))

    Args:
        memory: URL of an edit memory (closed with the client), or an open one (left open);
            ``None`` is that of the settings.
        settings: ``None`` reads the environment and ``memedit.toml``, as the command line does.
        transport: how to reach the upstream; the place for TLS, an HTTP proxy, limits, retries.
        options: further options of ``httpx2.Client``.

    """
    road, owned, defaults = _set_up(memory, settings)
    inner = transport if transport is not None else httpx2.HTTPTransport()
    return httpx2.Client(transport=EditingTransport(road, inner, owned), **(defaults | options))


def async_http_client(
    memory: str | EditMemory | None = None,
    *,
    settings: Settings | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    **options: Any,
) -> httpx2.AsyncClient:
    """Return ``http_client`` for asynchronous SDKs, such as ``openai.AsyncOpenAI``."""
    road, owned, defaults = _set_up(memory, settings)
    inner = transport if transport is not None else httpx2.AsyncHTTPTransport()
    return httpx2.AsyncClient(
        transport=AsyncEditingTransport(road, inner, owned), **(defaults | options)
    )


def _set_up(
    memory: str | EditMemory | None, settings: Settings | None
) -> tuple[Road, EditMemory | None, dict[str, Any]]:
    chosen = settings if settings is not None else read_settings()
    served = counterfactual_settings(chosen)
    owned = open_memory(memory, chosen) if memory is None or isinstance(memory, str) else None
    opened = owned if owned is not None else memory
    road = Road(
        open_router(opened, chosen, counterfactual=True),  # type: ignore[arg-type]
        chosen.memory.namespace,
        chosen.serve.on_memory_failure,
        open_answerer(chosen),
        CounterfactualCall(served) if served is not None else None,
    )
    timeout = httpx2.Timeout(chosen.serve.read_timeout, connect=chosen.serve.connect_timeout)
    return road, owned, {"timeout": timeout, "follow_redirects": True}
