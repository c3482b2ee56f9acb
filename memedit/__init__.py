"""Knowledge editing for served language models.

The public names are loaded when they are first asked for, so that ``import memedit`` stays cheap
and a proxy never pays for what only the client, or only an editing method, needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memedit.agent import MultiHopAgent as MultiHopAgent
    from memedit.client import AsyncClient as AsyncClient
    from memedit.client import Client as Client
    from memedit.client import async_http_client as async_http_client
    from memedit.client import http_client as http_client
    from memedit.errors import MemeditError as MemeditError
    from memedit.routing import RouteQuery as RouteQuery
    from memedit.types import Edit as Edit
    from memedit.types import EditRequest as EditRequest
    from memedit.types import QueryText as QueryText
    from memedit.wiring import open_memory as open_memory
    from memedit.wiring import open_router as open_router

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Edit",
    "EditRequest",
    "MemeditError",
    "MultiHopAgent",
    "QueryText",
    "RouteQuery",
    "__version__",
    "async_http_client",
    "http_client",
    "open_memory",
    "open_router",
]


def __getattr__(name: str) -> Any:
    homes = {
        "AsyncClient": "memedit.client",
        "Client": "memedit.client",
        "async_http_client": "memedit.client",
        "http_client": "memedit.client",
        "Edit": "memedit.types",
        "EditRequest": "memedit.types",
        "MemeditError": "memedit.errors",
        "MultiHopAgent": "memedit.agent",
        "QueryText": "memedit.types",
        "RouteQuery": "memedit.routing",
        "open_memory": "memedit.wiring",
        "open_router": "memedit.wiring",
    }
    if name not in homes:
        raise AttributeError(f"module 'memedit' has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
