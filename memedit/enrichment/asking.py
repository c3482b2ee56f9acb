"""Asking the served model from outside a proxy: one blocking HTTP client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from memedit.config import ServeSettings
from memedit.errors import SettingsError, UpstreamTimeout, UpstreamUnreachable
from memedit.routing.steps import NeedUpstream, UpstreamReply

Ask = Callable[[NeedUpstream], UpstreamReply]
"""Sends one request to the served model.

Raises:
    UpstreamError: there is no answer.

"""


@contextmanager
def open_asker(
    settings: ServeSettings, transport: httpx2.BaseTransport | None = None
) -> Iterator[Ask]:
    """Give what asks ``serve.upstream``, with ``serve.upstream_api_key``.

    Args:
        settings: the ``serve`` section.
        transport: how to reach the upstream; tests put their own here.

    Raises:
        SettingsError: the upstream is no URL.

    """
    try:
        base = httpx2.URL(settings.upstream.strip().rstrip("/").removesuffix("/v1"))
    except httpx2.InvalidURL:
        base = httpx2.URL("")
    if not base.is_absolute_url:
        raise SettingsError(
            f"serve.upstream is {settings.upstream!r}; expected the served model's base URL, "
            "for example http://127.0.0.1:8000"
        )
    # a proxy of memedit's may stand there: it is the model's own words that are wanted
    headers = {"content-type": "application/json", "x-memedit-bypass": "1"}
    if settings.upstream_api_key is not None:
        headers["authorization"] = f"Bearer {settings.upstream_api_key.get_secret_value()}"
    limits = httpx2.Timeout(settings.read_timeout, connect=settings.connect_timeout)
    with httpx2.Client(base_url=base, headers=headers, timeout=limits, transport=transport) as http:

        def ask(need: NeedUpstream) -> UpstreamReply:
            timeout = httpx2.Timeout(need.timeout) if need.timeout is not None else limits
            try:
                reply = http.request(
                    need.method, need.path, content=need.body or None, timeout=timeout
                )
            except httpx2.TimeoutException as error:
                raise UpstreamTimeout(f"no answer from {base} in time") from error
            except httpx2.HTTPError as error:
                kind = type(error).__name__
                raise UpstreamUnreachable(f"no answer from {base} ({kind})") from error
            return UpstreamReply(reply.status_code, reply.content)

        yield ask
