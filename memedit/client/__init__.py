"""The Python client: the edit API, and a transport that puts edits under the official SDKs.

``Client`` and ``AsyncClient`` speak to a running proxy; ``http_client`` and ``async_http_client``
need none: they route and rewrite requests on their way from an SDK to the model's server.
"""

from __future__ import annotations

from memedit.client.api import AsyncClient, Client
from memedit.client.transport import async_http_client, http_client

__all__ = ["AsyncClient", "Client", "async_http_client", "http_client"]
