"""The counterfactual model's server: asked in the place of the served model, answered whole."""

from __future__ import annotations

import logging
from typing import Final

from multidict import CIMultiDict

from memedit.config import SeracSettings, ServeSettings
from memedit.errors import UpstreamError
from memedit.routing import Prepared, WireFormat
from memedit.routing.counterfactual import Counterfactual, broken_stream
from memedit.routing.guarded import watching
from memedit.routing.headers import GUARD
from memedit.serving.asgi import Reply, Scope
from memedit.serving.upstream import Upstream, drained

log = logging.getLogger(__name__)

LONGEST_ANSWER: Final = 2**24
"""In bytes; what is longer is no answer read off an edit."""


class CounterfactualUnavailable(UpstreamError):
    """The counterfactual model gave no whole answer; ``reason`` is a word for the note."""

    code = "counterfactual_unavailable"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class CounterfactualServer:
    """Asks one server; opened and closed on the event loop that uses it.

    An answer is read to its end before any of it is passed on, streams too: it is as long as the
    fact that it tells, and one that breaks off is then no harm, since nothing has been sent.
    """

    def __init__(self, settings: SeracSettings, serve: ServeSettings) -> None:
        update = {"upstream": settings.url, "read_timeout": settings.timeout}
        self._upstream = Upstream(serve.model_copy(update=update))
        self._timeout = settings.timeout
        self._key = None if settings.api_key is None else settings.api_key.get_secret_value()
        self.model = Counterfactual(settings.model)

    async def open(self) -> None:
        """Open the connection pool."""
        await self._upstream.open()

    async def close(self) -> None:
        """Close the connection pool."""
        await self._upstream.close()

    async def ask(self, wire: WireFormat, scope: Scope, prepared: Prepared) -> tuple[Reply, str]:
        """Ask what was prepared; return the answer as it is sent, and what its guard found.

        The client's own headers, its key among them, stay behind.

        Raises:
            CounterfactualUnavailable: no answer, an error, or one that breaks off.

        """
        headers: CIMultiDict[str] = CIMultiDict({"content-type": "application/json"})
        headers["accept-encoding"] = "identity"
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            async with self._upstream.request(
                "POST",
                scope["raw_path"],
                scope["query_string"],
                headers,
                prepared.body,
                self._timeout,
            ) as response:
                body = await drained(response, LONGEST_ANSWER)
                kind = response.headers.get("content-type", "application/json")
                status = response.status
        except UpstreamError as error:
            log.warning("the counterfactual model: %s", error)
            raise CounterfactualUnavailable(str(error), error.code.replace("_", "-")) from error
        if status != 200:
            log.warning("the counterfactual model answered %d; the edit goes into context", status)
            raise CounterfactualUnavailable(f"it answered {status}", f"status-{status}")
        if broken_stream(wire, kind, body):
            log.warning("the counterfactual model's stream has no end; the edit goes into context")
            raise CounterfactualUnavailable("its stream has no end", "stream-broken")
        ours = dict(prepared.headers)
        outcome = ""
        if prepared.guard is not None:
            answer = watching(prepared.guard, wire, kind)
            body = answer.feed(body) + answer.finish()
            ours[GUARD] = outcome = answer.outcome
        pairs = tuple((name.encode(), value.encode("latin-1")) for name, value in ours.items())
        return Reply(200, body, kind.encode("latin-1"), pairs), outcome
