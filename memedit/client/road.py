"""The client's request plan without the network: what both transports share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import httpx2

from memedit.client.counterfactual import CounterfactualCall
from memedit.errors import MemeditError, UpstreamTimeout, UpstreamUnreachable
from memedit.routing import (
    NeedUpstream,
    OwnAnswer,
    Plan,
    Prepared,
    RequestOptions,
    Router,
    WireFormat,
    prepare,
)
from memedit.routing.answering import Answerer
from memedit.routing.counterfactual import Counterfactual

_OURS = "x-memedit-"
_OF_THE_BODY = frozenset({"content-length", "transfer-encoding", "content-type", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Road:
    """The part of a transport that touches no network: from a request to what is sent instead."""

    router: Router
    namespace: str
    on_memory_failure: Literal["open", "closed"]
    answerer: Answerer | None = None
    counterfactual: CounterfactualCall | None = None

    def plan(
        self,
        wire: WireFormat,
        request: httpx2.Request,
        failed: Counterfactual | None = None,
    ) -> Plan:
        """Start the plan of a request whose body has been read.

        ``failed`` is the counterfactual model, once it has been asked and gave no answer.

        Raises:
            InvalidInputError: an ``x-memedit-*`` request header cannot be understood.

        """
        served = self.counterfactual
        options = RequestOptions.from_headers(request.headers, namespaces=(self.namespace,))
        return prepare(
            self.router,
            wire,
            request.content,
            options,
            on_memory_failure=self.on_memory_failure,
            answerer=self.answerer,
            counterfactual=failed or (None if served is None else served.model),
        )


def forwarded(request: httpx2.Request, prepared: Prepared) -> httpx2.Request:
    """Return the request as it goes to the upstream; an untouched body is the very same bytes."""
    headers = [(name, value) for name, value in request.headers.multi_items() if not _ours(name)]
    if prepared.guard is not None:  # the answer has to be read on its way
        headers = [(name, value) for name, value in headers if name.lower() != "accept-encoding"]
        headers.append(("accept-encoding", "identity"))
    if prepared.touched:
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        headers = [(name, value) for name, value in headers if name.lower() != "transfer-encoding"]
    return httpx2.Request(
        request.method,
        request.url,
        headers=headers,
        content=prepared.body,
        extensions=request.extensions,
    )


def side_request(request: httpx2.Request, wire: WireFormat, step: NeedUpstream) -> httpx2.Request:
    """Return the request for what a plan wants from the upstream, under the caller's own key."""
    base = request.url.path.removesuffix(wire.path)
    headers = [
        (name, value)
        for name, value in request.headers.multi_items()
        if name.lower() not in _OF_THE_BODY and not _ours(name)
    ]
    extensions = dict(request.extensions)
    if step.timeout is not None:
        extensions["timeout"] = httpx2.Timeout(step.timeout).as_dict()
    return httpx2.Request(
        step.method,
        request.url.copy_with(path=base + step.path, query=None),
        headers=[*headers, ("content-type", "application/json")],
        content=step.body,
        extensions=extensions,
    )


def own_response(answer: OwnAnswer, prepared: Prepared) -> httpx2.Response:
    """Return the response in which nothing comes from the upstream."""
    headers = {**prepared.headers, "content-type": answer.content_type}
    return httpx2.Response(200, headers=headers, content=answer.body)


def refusal(wire: WireFormat, error: MemeditError) -> httpx2.Response:
    """Return an error of our own as the model's API would have answered it."""
    content = wire.error(error.status, error.code, str(error))
    return httpx2.Response(
        error.status, headers={"content-type": "application/json"}, content=content
    )


def _ours(name: str) -> bool:
    return name.lower().startswith(_OURS)


def lost(error: httpx2.TransportError) -> MemeditError:
    """Return the transport's error as memedit's own, for the plan that waits."""
    kind = UpstreamTimeout if isinstance(error, httpx2.TimeoutException) else UpstreamUnreachable
    return kind(f"the upstream did not answer: {type(error).__name__}: {error}")
