"""The core of a request: wire formats, query text, route, applying it; no network, no server.

Reading order: ``route`` (the decision as a value), ``steps`` and ``plan`` (the road of a request),
``wire`` (the four APIs), ``router`` (the decision), ``drive`` (running a plan).
"""

from memedit.routing.drive import run_async, run_sync
from memedit.routing.options import RequestOptions
from memedit.routing.plan import prepare
from memedit.routing.route import Reason, Route, RouteQuery
from memedit.routing.router import Router
from memedit.routing.steps import (
    AdapterUnavailable,
    NeedAdapter,
    NeedRoutes,
    NeedUpstream,
    OwnAnswer,
    Plan,
    Prepared,
    UpstreamReply,
)
from memedit.routing.wire.base import WireFormat
from memedit.routing.wire.catalog import WIRE_FORMATS, wire_for

__all__ = [
    "WIRE_FORMATS",
    "AdapterUnavailable",
    "NeedAdapter",
    "NeedRoutes",
    "NeedUpstream",
    "OwnAnswer",
    "Plan",
    "Prepared",
    "Reason",
    "RequestOptions",
    "Route",
    "RouteQuery",
    "Router",
    "UpstreamReply",
    "WireFormat",
    "prepare",
    "run_async",
    "run_sync",
    "wire_for",
]
