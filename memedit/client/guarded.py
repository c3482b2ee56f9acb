"""Answers that are watched for an erased fact, on their way to an SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2

from memedit.client.road import refusal
from memedit.errors import UpstreamError
from memedit.routing import WireFormat
from memedit.routing.guard import Guard
from memedit.routing.guarded import GuardedAnswer, watching
from memedit.routing.headers import GUARD


class _Stream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, answer: GuardedAnswer) -> None:
        self._inner, self._answer = inner, answer

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            if part := self._answer.feed(chunk):
                yield part
            if self._answer.ended:
                break
        if rest := self._answer.finish():
            yield rest

    def close(self) -> None:
        self._inner.close()


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, answer: GuardedAnswer) -> None:
        self._inner, self._answer = inner, answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            if part := self._answer.feed(chunk):
                yield part
            if self._answer.ended:
                break
        if rest := self._answer.finish():
            yield rest

    async def aclose(self) -> None:
        await self._inner.aclose()


def guarded(wire: WireFormat, guard: Guard, response: httpx2.Response) -> httpx2.Response:
    """Return the response with its body watched; one that cannot be read becomes an error."""
    answer = _watched(wire, guard, response)
    if isinstance(answer, httpx2.Response):
        response.close()
        return answer
    if answer.whole:
        answer.feed(response.read())
        return _whole(answer, response)
    inner = response.stream
    if not isinstance(inner, httpx2.SyncByteStream):
        raise TypeError(f"a synchronous transport answered with a {type(inner).__name__}")
    return _begun(response, _Stream(inner, answer))


async def async_guarded(
    wire: WireFormat, guard: Guard, response: httpx2.Response
) -> httpx2.Response:
    """Return ``guarded`` of an asynchronous response."""
    answer = _watched(wire, guard, response)
    if isinstance(answer, httpx2.Response):
        await response.aclose()
        return answer
    if answer.whole:
        answer.feed(await response.aread())
        return _whole(answer, response)
    inner = response.stream
    if not isinstance(inner, httpx2.AsyncByteStream):
        raise TypeError(f"an asynchronous transport answered with a {type(inner).__name__}")
    return _begun(response, _AsyncStream(inner, answer))


def _watched(
    wire: WireFormat, guard: Guard, response: httpx2.Response
) -> GuardedAnswer | httpx2.Response:
    answer = watching(guard, wire, response.headers.get("content-type", ""))
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if answer.whole or encoding in ("", "identity"):  # a whole one is decoded when it is read
        return answer
    return refusal(
        wire,
        UpstreamError(
            f"the upstream streams with content-encoding {encoding} where none was accepted; an "
            "answer about an erased fact has to be read before it may pass"
        ),
    )


def _whole(answer: GuardedAnswer, response: httpx2.Response) -> httpx2.Response:
    content = answer.finish()
    headers = _without_length(response.headers)
    headers[GUARD] = answer.outcome
    return httpx2.Response(
        response.status_code, headers=headers, content=content, extensions=response.extensions
    )


def _begun(
    response: httpx2.Response, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream
) -> httpx2.Response:
    headers = _without_length(response.headers)
    headers[GUARD] = "watching"
    return httpx2.Response(
        response.status_code, headers=headers, stream=stream, extensions=response.extensions
    )


def _without_length(headers: httpx2.Headers) -> httpx2.Headers:
    kept = httpx2.Headers(headers)
    for name in ("content-length", "content-encoding", "transfer-encoding"):
        kept.pop(name, None)
    return kept
