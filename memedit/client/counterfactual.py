"""The counterfactual model's server, as a transport asks it; without the network."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import httpx2

from memedit.config import SeracSettings
from memedit.routing import Prepared, WireFormat
from memedit.routing.counterfactual import Counterfactual, broken_stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CounterfactualCall:
    """How that server is asked, and what counts as an answer of it."""

    settings: SeracSettings

    @property
    def model(self) -> Counterfactual:
        """The model as a plan knows it."""
        return Counterfactual(self.settings.model)

    def request(self, wire: WireFormat, prepared: Prepared) -> httpx2.Request:
        """Return the request; the caller's own headers, its key among them, stay behind."""
        base = str(self.settings.url).rstrip("/").removesuffix("/v1")
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if self.settings.api_key is not None:
            headers["authorization"] = f"Bearer {self.settings.api_key.get_secret_value()}"
        timeout = httpx2.Timeout(self.settings.timeout).as_dict()
        return httpx2.Request(
            "POST",
            f"{base}{wire.path}",
            headers=headers,
            content=prepared.body,
            extensions={"timeout": timeout},
        )

    def failed(self, wire: WireFormat, response: httpx2.Response) -> Counterfactual | None:
        """Return the model as failed where a response that has been read is no whole answer."""
        if response.status_code != 200:
            return self._failed(f"status-{response.status_code}")
        kind = response.headers.get("content-type", "application/json")
        return (
            self._failed("stream-broken") if broken_stream(wire, kind, response.content) else None
        )

    def lost(self, error: httpx2.TransportError) -> Counterfactual:
        """Return the model as failed where there was no answer, or none to its end."""
        slow = isinstance(error, httpx2.TimeoutException)
        return self._failed("upstream-timeout" if slow else "upstream-unreachable")

    def _failed(self, why: str) -> Counterfactual:
        log.warning("the counterfactual model gave no answer (%s); the edit goes into context", why)
        return replace(self.model, failed=why)
