"""The way to the served model: requests go out as they came in, answers come back as they are."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from memedit.config import ServeSettings
from memedit.errors import SettingsError, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from memedit.serving.asgi import RawHeaders, Send

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 2.0
"""Idle connections are closed after this.  vLLM closes them after 5 (VLLM_HTTP_TIMEOUT_KEEP_ALIVE);
being first avoids the race in which a request is sent into a closing connection, which nobody could
safely repeat: a POST may have been carried out.  A server whose loop is held up looks at its timers
before it reads what has come meanwhile: with 4 seconds here, two requests of some thousands to a
vLLM that shared its core were answered 502."""
LARGE_BODY: Final = 2**20
"""Bodies beyond this are written in pieces, so that the event loop is not held up."""

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""They speak of one connection, not of the message (RFC 9110, section 7.6.1)."""
_NOT_SENT_ON: Final = HOP_BY_HOP | {
    b"host",  # the upstream's own
    b"content-length",  # the client library counts the very bytes that it sends
    b"expect",  # answered already: the whole body is here
}
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
_OURS: Final = b"x-memedit-"
_ADDED_BY_LIBRARY: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class UpstreamCut(UpstreamError):
    """The upstream's answer broke off in the middle."""

    code = "upstream_cut"


class Upstream:
    """An HTTP client for one upstream; opened and closed on the event loop that uses it."""

    def __init__(self, settings: ServeSettings) -> None:
        self.base = _base(settings.upstream)
        self._prefix = self.base.raw_path.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.read_timeout
        )
        self._read_timeout = settings.read_timeout
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),  # cookies belong to the clients
            timeout=self._timeout,
            auto_decompress=False,
            skip_auto_headers=_ADDED_BY_LIBRARY,
            max_line_size=65_536,
            max_field_size=65_536,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connection pool."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        raw_path: bytes,
        query: bytes,
        headers: CIMultiDict[str],
        body: bytes,
        timeout: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and wait for the head of its answer; leaving early aborts it.

        Path, query string and body are sent as the bytes they are.  Redirects are not followed.

        Raises:
            UpstreamUnreachable: no connection.
            UpstreamTimeout: no connection, or no answer, in time.
            UpstreamError: the connection broke, or the answer is no HTTP.

        """
        if self._session is None:
            raise UpstreamUnreachable("the proxy is starting or stopping")
        url = URL.build(
            scheme=self.base.scheme,
            authority=self.base.raw_authority,
            path=self._prefix + raw_path.decode("ascii"),
            query_string=query.decode("latin-1"),
            encoded=True,
        )
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=(io.BytesIO(body) if len(body) > LARGE_BODY else body) if body else None,
                allow_redirects=False,
                timeout=self._timeout if timeout is None else aiohttp.ClientTimeout(total=timeout),
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._explained(error) from error
        try:
            yield response
        finally:
            response.close()  # does nothing once the answer has been read to its end

    def _explained(self, error: Exception) -> UpstreamError:
        log.warning("upstream %s: %s: %s", self.base.origin(), type(error).__name__, error)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return UpstreamTimeout(
                f"no connection to the upstream model server within {self._timeout.sock_connect} s;"
                " check serve.upstream, or raise serve.connect_timeout"
            )
        if isinstance(error, TimeoutError):
            return UpstreamTimeout(
                f"the upstream model server did not answer within {self._read_timeout} s; "
                "try again later, or raise serve.read_timeout"
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            # Its text would name the address, which is not the client's business.
            number = error.os_error.errno
            why = os.strerror(number) if number and number > 0 else "name or address not known"
            return UpstreamUnreachable(
                f"the upstream model server cannot be reached ({why}); "
                "start it, or correct serve.upstream"
            )
        return UpstreamError(
            "the upstream model server closed the connection without an answer, or its answer is "
            f"not HTTP ({type(error).__name__}); see its log"
        )


async def relay(
    response: aiohttp.ClientResponse,
    send: Send,
    headers: Mapping[str, str],
) -> int:
    """Pass an answer on, chunk by chunk as it arrives; return the number of body bytes.

    Args:
        response: the upstream's answer, its head read.
        send: where to; status and headers go first, ``headers`` of our own after them.
        headers: added to the answer; the upstream's of the same names are left out.

    Raises:
        UpstreamCut: the answer broke off; what came is sent, and the end is not.

    """
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": answer_headers(response, headers),
        }
    )
    content = response.content
    size = 0
    try:
        while True:
            chunk = await content.readany()
            size += len(chunk)
            last = content.at_eof()
            await send({"type": "http.response.body", "body": chunk, "more_body": not last})
            if last:
                return size
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UpstreamCut(
            f"the upstream's answer broke off after {size:,} bytes ({type(error).__name__})"
        ) from error


async def pass_whole(
    response: aiohttp.ClientResponse, send: Send, headers: Mapping[str, str], body: bytes
) -> int:
    """Pass on an answer whose body has been read already; else as ``relay``."""
    head = answer_headers(response, headers)
    await send({"type": "http.response.start", "status": response.status, "headers": head})
    await send({"type": "http.response.body", "body": body})
    return len(body)


def request_headers(
    headers: RawHeaders, credentials: list[tuple[bytes, bytes]] | None
) -> CIMultiDict[str]:
    """Return a client's headers as they go to the upstream.

    Hop-by-hop headers, those that ``Connection`` lists, and ``x-memedit-*`` stay behind;
    ``credentials``, unless ``None``, take the place of the client's own.
    """
    listed = _listed_in_connection(headers)
    out: CIMultiDict[str] = CIMultiDict()
    for name, value in headers:
        if name in _NOT_SENT_ON or name in listed or name.startswith(_OURS):
            continue
        if credentials is not None and name in _CREDENTIALS:
            continue
        out.add(name.decode("latin-1"), _text(value))
    for name, value in credentials or ():
        out.add(name.decode("latin-1"), _text(value))
    return out


def answer_headers(
    response: aiohttp.ClientResponse, ours: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers as they go to the client, duplicates kept, ours at the end."""
    raw = [(name.lower(), value) for name, value in response.raw_headers]
    dropped = HOP_BY_HOP | _listed_in_connection(raw)
    if response.status in (204, 304):
        dropped |= {b"content-length"}  # there it counts a body that does not come
    kept = [
        (name, value)
        for name, value in raw
        if name not in dropped and not (ours and name.startswith(_OURS))
    ]
    kept.extend((name.encode("latin-1"), value.encode("latin-1")) for name, value in ours.items())
    return kept


def _listed_in_connection(headers: RawHeaders) -> frozenset[bytes]:
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(part.strip().lower() for part in value.split(b","))
    # Those that make the message what it is cannot be switched off this way.
    return frozenset(named - {b"content-type", b"content-encoding", b"content-length"})


def _text(value: bytes) -> str:
    # The client library writes header values as UTF-8.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _base(url: str) -> URL:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"serve.upstream is {url!r}; expected the served model's base URL, "
            "for example http://127.0.0.1:8000"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingsError(
            "serve.upstream must be a plain base URL, without user, query or fragment; "
            "a key belongs into serve.upstream_api_key"
        )
    base = URL(url.strip())
    # Clients are given .../v1 as their base URL, and so many write it here too.
    path = base.raw_path.rstrip("/")
    return base.with_path(path.removesuffix("/v1") or "/", encoded=True)


async def drained(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a whole small answer, for our own use.

    Raises:
        UpstreamError: it is longer than ``limit`` bytes, or broke off.

    """
    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.content.iter_any():
            size += len(part)
            if size > limit:
                raise UpstreamError(f"an answer of the upstream is longer than {limit:,} bytes")
            parts.append(part)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise UpstreamCut(
            f"the upstream's answer broke off after {size:,} bytes ({type(error).__name__})"
        ) from error
    return b"".join(parts)
