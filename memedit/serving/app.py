"""The proxy as an ASGI app: what is asked for goes to the part that answers it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from memedit.config import AdapterSettings, SeracSettings, ServeSettings
from memedit.errors import MemeditError, UpstreamError
from memedit.library import Library
from memedit.routing import Router, WireFormat, wire_for
from memedit.routing.answering import Answerer
from memedit.serving.asgi import (
    App,
    BodyTooLarge,
    ClientGone,
    Receive,
    Reply,
    Scope,
    Send,
    header,
    read_body,
)
from memedit.serving.auth import Guard, Unauthorized, refuse_exposure
from memedit.serving.batcher import DecisionBatcher
from memedit.serving.counterfactual import CounterfactualServer
from memedit.serving.departure import UntilClientLeaves
from memedit.serving.edit_api import create_edit_api
from memedit.serving.enriching import EnrichmentQueue
from memedit.serving.exchange import CLIENT_GONE, Exchange, Noting
from memedit.serving.health import Readiness
from memedit.serving.logs import log_request
from memedit.serving.metrics import Metrics
from memedit.serving.model_api import ModelApi
from memedit.serving.pages import Pages
from memedit.serving.paths import GENERATING, OUR_PREFIX, READ, Paths
from memedit.serving.residency import Residency
from memedit.serving.upstream import Upstream, UpstreamCut, relay, request_headers
from memedit.types import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from memedit.enrichment import Ask, Enricher
    from memedit.memory import EditMemory

log = logging.getLogger(__name__)


class NotSupported(MemeditError):
    """A way of speaking that the proxy does not pass on."""

    code = "not_supported"
    status = 501


def create_app(
    settings: ServeSettings,
    router: Router,
    memory: EditMemory,
    *,
    namespace: str = DEFAULT_NAMESPACE,
    adapters: AdapterSettings | None = None,
    answerer: Answerer | None = None,
    counterfactual: SeracSettings | None = None,
    enrich: Callable[[Ask], Enricher] | None = None,
) -> App:
    """Make the proxy's ASGI app; it opens its connections when its lifespan starts.

    Args:
        settings: the ``serve`` section.
        router: takes the decisions.
        memory: behind the edit API; the same that the router looks into.
        namespace: of requests that name none.
        adapters: the section of that name; without a library in it no adapters are used.
        answerer: answers prompts that depend on edits through another hop.
        counterfactual: the section ``serac``, where the router sends prompts to that model.
        enrich: makes what generates further questions for written edits, given what asks the
            upstream; ``None``: none are generated.

    Raises:
        SettingsError: the settings would let strangers edit, or the upstream is no URL.

    """
    refuse_exposure(settings)
    chosen = adapters or AdapterSettings()
    return Proxy(settings, router, memory, namespace, chosen, answerer, counterfactual, enrich)


class Proxy:
    """The app that ``create_app`` makes."""

    def __init__(
        self,
        settings: ServeSettings,
        router: Router,
        memory: EditMemory,
        namespace: str,
        adapters: AdapterSettings,
        answerer: Answerer | None = None,
        counterfactual: SeracSettings | None = None,
        enrich: Callable[[Ask], Enricher] | None = None,
    ) -> None:
        self._settings = settings
        self._guard = Guard(settings)
        self._paths = Paths(settings.forward)
        self._upstream = Upstream(settings)
        self._metrics = Metrics(memory.namespaces)
        self._batcher = DecisionBatcher(
            router.decide,
            max_batch=settings.max_batch,
            observe=self._metrics.batch_size.observe,
        )
        self._residency: Residency | None = None
        if adapters.library is not None:
            library = Library(adapters.library)
            self._residency = Residency(
                adapters,
                library,
                self._upstream,
                self._metrics,
                memory.adapters.view,
                memory.refresh,
            )
        self._counterfactual: CounterfactualServer | None = None
        if counterfactual is not None:
            self._counterfactual = CounterfactualServer(counterfactual, settings)
        self._model_api = ModelApi(
            settings,
            router,
            self._batcher,
            self._upstream,
            self._guard,
            self._metrics,
            namespace,
            self._residency,
            answerer,
            self._counterfactual,
        )
        self._enriching: EnrichmentQueue | None = None
        if enrich is not None:
            key = settings.upstream_api_key
            self._enriching = EnrichmentQueue(enrich, self._upstream, key, self._metrics)
        self._edit_api = create_edit_api(
            settings,
            self._guard,
            router,
            memory,
            namespace,
            *((self._enriching.put,) if self._enriching is not None else ()),
            agent=answerer.name if answerer is not None else None,
            fault=None if self._residency is None else self._residency.fault,
        )
        self._pages = Pages(
            self._guard, self._metrics, self._upstream, Readiness(self._upstream, memory.stats)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event, as ASGI asks."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003, "reason": _NO_WEBSOCKETS})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._upstream.open()
                if self._counterfactual is not None:
                    await self._counterfactual.open()
                self._batcher.start()
                if self._enriching is not None:
                    self._enriching.start()
                if self._residency is not None:
                    self._residency.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._batcher.close()
                if self._enriching is not None:
                    await self._enriching.close()
                if self._residency is not None:
                    await self._residency.close()
                await self._upstream.close()
                if self._counterfactual is not None:
                    await self._counterfactual.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        wire = wire_for(scope["method"], path) if path in READ else None
        exchange = Exchange(scope["method"], path[:_LONGEST_PATH], wire.name if wire else None)
        request_id = header(scope["headers"], b"x-request-id")
        if request_id is not None:
            exchange.request_id = request_id[:128].decode("latin-1")
        self._metrics.in_flight.inc()
        try:
            await self._answer(wire, exchange, scope, receive, send)
        except ClientGone:
            exchange.error = "client_gone"
            exchange.status = exchange.status or CLIENT_GONE
            self._metrics.clients_gone.inc()
        except UpstreamCut as error:
            # The head is out, so no error can be sent any more.  Returning without the end makes
            # the server close the connection in mid-answer: the client sees that it broke off.
            exchange.error = error.code
            self._metrics.upstream_errors.labels(error.code).inc()
            log.warning("%s", error)
        except MemeditError as error:
            await self._refuse(wire, exchange, error, scope, send)
        except Exception as error:
            log.exception("answering a request failed")
            failure = MemeditError(f"memedit failed ({type(error).__name__}); its log says more")
            await self._refuse(wire, exchange, failure, scope, send)
        finally:
            self._metrics.in_flight.dec()
            self._count(exchange)
            log_request(exchange.fields())

    async def _answer(
        self,
        wire: WireFormat | None,
        exchange: Exchange,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        # What there is most of comes first.  The raw path of a wire format is its plain one, so
        # that it need not be judged.
        if wire is not None and scope["raw_path"] == wire.path.encode():
            await self._model_api.answer(wire, exchange, scope, receive, send)
            return
        path: str = scope["path"]
        if path.startswith(OUR_PREFIX):
            exchange.own = True
            noting = Noting(exchange, receive, send)
            await self._edit_api(scope, noting.receive, noting.send)
            return
        if exchange.method in ("GET", "HEAD") and path in self._pages:
            reply = await self._pages.reply(path, scope)
            exchange.status, exchange.started = reply.status, True
            exchange.bytes_out = len(reply.body)
            await reply.send(send, head=exchange.method == "HEAD")
            return
        self._paths.check(scope["raw_path"])
        upgrade = header(scope["headers"], b"upgrade")
        if upgrade is not None and upgrade.lower() == b"websocket":
            raise NotSupported(_NO_WEBSOCKETS)
        if exchange.method in ("CONNECT", "TRACE"):
            raise NotSupported(f"memedit does not forward {exchange.method}")
        if wire is not None:  # a wire format, spelled with escapes
            await self._model_api.answer(wire, exchange, scope, receive, send)
            return
        await self._forward(exchange, scope, receive, send)

    async def _forward(
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a request on without reading it."""
        given = scope["headers"]
        if exchange.path not in _OPEN and exchange.method != "OPTIONS":
            self._guard.check_inference(given)
        if exchange.path in GENERATING:
            exchange.route, exchange.reason = "pass", "not_read"
            exchange.answer_headers = {"x-memedit-route": "pass", "x-memedit-reason": "not_read"}
        body = await read_body(scope, receive, self._settings.max_body_bytes)
        exchange.bytes_in = len(body)
        headers = request_headers(given, self._guard.credentials(given))
        async with (
            UntilClientLeaves(receive),
            self._upstream.request(
                exchange.method, scope["raw_path"], scope["query_string"], headers, body
            ) as response,
        ):
            exchange.status = response.status
            exchange.started = True
            exchange.bytes_out = await relay(response, send, exchange.answer_headers)

    async def _refuse(
        self,
        wire: WireFormat | None,
        exchange: Exchange,
        error: MemeditError,
        scope: Scope,
        send: Send,
    ) -> None:
        """Answer with an error of our own, in the shape of the API that was asked."""
        exchange.error = error.code
        if isinstance(error, UpstreamError):
            self._metrics.upstream_errors.labels(error.code).inc()
        if exchange.started:
            return  # too late for another answer: the server breaks this one off
        exchange.status = error.status
        extra = dict(exchange.answer_headers)
        # what was decided never came to be where the served model did not answer
        if wire is not None and (not extra or isinstance(error, UpstreamError)):
            exchange.route, exchange.reason = "refuse", error.code
            extra = {"x-memedit-route": "refuse", "x-memedit-reason": error.code}
        if isinstance(error, Unauthorized):
            extra["www-authenticate"] = "Bearer"
        if isinstance(error, BodyTooLarge):
            extra["connection"] = "close"  # rather than read the rest of it
        shape = wire or _shape_for(exchange.path)
        body = shape.error(error.status, error.code, str(error))
        exchange.bytes_out = len(body)
        exchange.started = True
        headers = tuple((name.encode(), value.encode("latin-1")) for name, value in extra.items())
        await Reply(error.status, body, headers=headers).send(send, head=exchange.method == "HEAD")

    def _count(self, exchange: Exchange) -> None:
        status = str(exchange.status)
        if exchange.wire is not None:
            self._metrics.requests.labels(
                exchange.wire, exchange.route, exchange.reason, status
            ).inc()
        elif exchange.own:
            self._metrics.edit_api.labels(status).inc()
        elif exchange.error and exchange.error != "client_gone":
            self._metrics.refused.labels(exchange.error).inc()
        else:
            self._metrics.forwarded.labels(status).inc()


_LONGEST_PATH = 256
"""Of what the log shows of a path, in characters."""
_OPEN = frozenset({"/health", "/ping"})
"""Forwarded without a key, for those who probe the upstream through the proxy."""
_NO_WEBSOCKETS = "memedit does not forward WebSockets; connect to the upstream itself"


def _shape_for(path: str) -> WireFormat:
    """Return the wire format whose error shape belongs to a path that is not read."""
    shape = wire_for(
        "POST", "/v1/messages" if path.startswith("/v1/messages") else "/v1/chat/completions"
    )
    if shape is None:
        raise RuntimeError("the wire formats of chat and messages are gone")
    return shape
