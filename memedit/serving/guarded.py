"""The way back for answers that are watched for an erased fact."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp

from memedit.errors import UpstreamError
from memedit.routing import WireFormat
from memedit.routing.guard import Guard
from memedit.routing.guarded import GuardedAnswer, watching
from memedit.routing.headers import GUARD
from memedit.serving.asgi import Send
from memedit.serving.upstream import UpstreamCut, answer_headers, drained

LONGEST: Final = 2**26
"""Of a whole answer that is watched, in bytes."""
_LONG: Final = 2**15
"""Answers beyond this are read in a thread, so that others need not wait."""


class AnswerUnreadable(UpstreamError):
    """The answer is compressed, though it was asked for as it is."""

    code = "answer_unreadable"


def watched(guard: Guard, wire: WireFormat, response: aiohttp.ClientResponse) -> GuardedAnswer:
    """Begin to watch an answer whose head has been read.

    Raises:
        AnswerUnreadable: its encoding hides its text; none of it may pass.

    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise AnswerUnreadable(
            f"the upstream answered with content-encoding {encoding} where none was accepted; an "
            "answer about an erased fact has to be read before it may pass"
        )
    return watching(guard, wire, response.headers.get("content-type", ""))


async def relay_watched(
    response: aiohttp.ClientResponse,
    send: Send,
    headers: Mapping[str, str],
    answer: GuardedAnswer,
) -> int:
    """Pass on what may leave of an answer; return the number of body bytes.

    Raises:
        UpstreamCut: a stream broke off; what was held back is not sent, nor is the end.
        UpstreamError: a whole answer broke off or is too long; nothing was sent.

    """
    if answer.whole:
        try:
            answer.feed(await drained(response, LONGEST))
        except UpstreamCut as error:
            # nothing is out yet, so that this need not look like an answer that broke off
            raise UpstreamError(str(error)) from error
        long = (response.content_length or 0) > _LONG
        body = await asyncio.to_thread(answer.finish) if long else answer.finish()
        await _head(response, send, {**headers, GUARD: answer.outcome}, len(body))
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return len(body)
    await _head(response, send, {**headers, GUARD: "watching"}, None)
    content, size = response.content, 0
    try:
        while not (content.at_eof() or answer.ended):
            part = answer.feed(await content.readany())
            size += len(part)
            if part:
                await send({"type": "http.response.body", "body": part, "more_body": True})
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UpstreamCut(
            f"the upstream's answer broke off after {size:,} bytes ({type(error).__name__})"
        ) from error
    rest = answer.finish()
    await send({"type": "http.response.body", "body": rest, "more_body": False})
    return size + len(rest)


async def _head(
    response: aiohttp.ClientResponse, send: Send, headers: Mapping[str, str], length: int | None
) -> None:
    kept = [
        (name, value)
        for name, value in answer_headers(response, headers)
        if name != b"content-length"
    ]
    if length is not None:
        kept.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": kept})
