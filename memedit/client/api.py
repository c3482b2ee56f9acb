"""The clients of the edit API: two thin senders around the calls, which are written once."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx2

from memedit.client import calls
from memedit.client.calls import Call
from memedit.errors import UpstreamTimeout, UpstreamUnreachable
from memedit.types import Edit, Status

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8100"


def _blocking(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return method


def _awaitable(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @functools.wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return method


class Client:
    """The edit API of a running proxy; a context manager.

    >>> with memedit.Client("http://127.0.0.1:8100") as client:
    ...     [edit] = client.add([EditRequest(prompt=..., subject=..., target_new=...)])
    ...     client.retract(edit.id)

    Args:
        base_url: the proxy's, with or without a trailing ``/v1``.
        api_key: an admin key, where the proxy asks for one.
        timeout: seconds for each step of a call.
        transport: how to reach the proxy; tests put their own here.

    Raises:
        MemeditError: by every method; the class that the server raised, found by its ``code``.

    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = httpx2.Client(
            base_url=_root(base_url),
            headers=_headers(api_key),
            timeout=timeout,
            transport=transport,
        )

    def send(self, call: Call[T]) -> T:
        """Send one call and read its reply."""
        with _clear_errors(self._http.base_url):
            reply = self._http.request(
                call.method, call.path, params=call.params, content=call.content()
            )
        return call.result(reply.status_code, reply.content)

    add = _blocking(calls.add)
    feedback = _blocking(calls.feedback)
    get = _blocking(calls.get)
    search = _blocking(calls.search)
    supersede = _blocking(calls.supersede)
    retract = _blocking(calls.retract)
    history = _blocking(calls.history)
    route = _blocking(calls.route)
    stats = _blocking(calls.stats)
    namespaces = _blocking(calls.namespaces)

    def list(
        self, *, namespace: str | None = None, status: Status | None = Status.LIVE
    ) -> Iterator[Edit]:
        """Walk through all edits, page by page; ``status=None`` is every status."""
        walk = calls.pages(namespace, status)
        call = next(walk, None)
        while call is not None:
            found = self.send(call)
            yield from found
            call = _next(walk, found)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """``Client`` for asynchronous code: the same methods, awaited."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(
            base_url=_root(base_url),
            headers=_headers(api_key),
            timeout=timeout,
            transport=transport,
        )

    async def send(self, call: Call[T]) -> T:
        """Send one call and read its reply."""
        with _clear_errors(self._http.base_url):
            reply = await self._http.request(
                call.method, call.path, params=call.params, content=call.content()
            )
        return call.result(reply.status_code, reply.content)

    add = _awaitable(calls.add)
    feedback = _awaitable(calls.feedback)
    get = _awaitable(calls.get)
    search = _awaitable(calls.search)
    supersede = _awaitable(calls.supersede)
    retract = _awaitable(calls.retract)
    history = _awaitable(calls.history)
    route = _awaitable(calls.route)
    stats = _awaitable(calls.stats)
    namespaces = _awaitable(calls.namespaces)

    async def list(
        self, *, namespace: str | None = None, status: Status | None = Status.LIVE
    ) -> AsyncIterator[Edit]:
        """Walk through all edits, page by page; ``status=None`` is every status."""
        walk = calls.pages(namespace, status)
        call = next(walk, None)
        while call is not None:
            found = await self.send(call)
            for edit in found:
                yield edit
            call = _next(walk, found)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _root(base_url: str) -> str:
    """Take the proxy's address however it is given: the openai SDK wants it with ``/v1``."""
    return base_url.rstrip("/").removesuffix("/v1").removesuffix("/memedit")


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    return headers if api_key is None else headers | {"authorization": f"Bearer {api_key}"}


def _next(
    walk: Generator[Call[list[Edit]], list[Edit], None], found: list[Edit]
) -> Call[list[Edit]] | None:
    try:
        return walk.send(found)
    except StopIteration:
        return None


@contextmanager
def _clear_errors(base_url: httpx2.URL) -> Iterator[None]:
    """Turn the transport's errors into memedit's own."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise UpstreamTimeout(
            f"no answer from {base_url} in time ({type(error).__name__}); raise the timeout or "
            "look at the proxy's log"
        ) from error
    except httpx2.HTTPError as error:
        raise UpstreamUnreachable(
            f"cannot reach a memedit proxy at {base_url}: {error}; start one with 'memedit serve'"
        ) from error
