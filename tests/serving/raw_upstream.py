"""An upstream on raw sockets, for what no real server can be provoked into."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as its very bytes arrived at the upstream."""

    head: bytes
    body: bytes
    aborted: threading.Event = field(default_factory=threading.Event)

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> bytes:
        return self.head.split(b" ", 2)[1]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:]
        return [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in lines if line)
        ]

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def whole(
    body: bytes = b'{"ok":true}',
    status: bytes = b"200 OK",
    headers: Sequence[bytes] = (b"content-type: application/json",),
) -> Script:
    """Answer with a body of known length."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        lines = [b"HTTP/1.1 " + status, *headers, b"content-length: %d" % len(body), b"", b""]
        writer.write(b"\r\n".join(lines))
        if request.method != "HEAD":
            writer.write(body)
        await writer.drain()

    return script


def chunked(
    chunks: Sequence[bytes], headers: Sequence[bytes] = (), pause: float = 0.0, end: bool = True
) -> Script:
    """Answer in chunks; without ``end`` the connection breaks off after the last of them."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        lines = [b"HTTP/1.1 200 OK", *headers, b"transfer-encoding: chunked", b"", b""]
        writer.write(b"\r\n".join(lines))
        for chunk in chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
            await asyncio.sleep(pause)
        if end:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        else:
            writer.close()

    return script


class RawUpstream:
    """A server on raw sockets, in a thread of its own: keeps every byte, answers by script."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.scripts: dict[bytes, Script] = {}
        self.default: Script = whole()
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def last(self, target: bytes | None = None) -> Received:
        return next(r for r in reversed(self.requests) if target is None or r.target == target)

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**26)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):
            while not writer.is_closing():
                request = await self._read(reader)
                self.requests.append(request)
                path = request.target.split(b"?")[0]
                answering = asyncio.ensure_future(
                    self.scripts.get(path, self.default)(request, writer)
                )
                leaving = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                gone = leaving.done() and not answering.done()
                # Whoever is still being written to when it leaves shows in the writing alone.
                broken = answering.done() and isinstance(answering.exception(), ConnectionError)
                if gone or broken:
                    request.aborted.set()
                    answering.cancel()
                    leaving.cancel()
                    await asyncio.gather(answering, leaving, return_exceptions=True)
                    break
                answering.result()
                if leaving.done():
                    break
                # The byte that is read ahead is the first of the next request.
                first = await leaving
                if not first:
                    break
                reader._buffer[:0] = first  # type: ignore[attr-defined]
        writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Received:
        head = await reader.readuntil(b"\r\n\r\n")
        request = Received(head[:-4], b"")
        assert not (request.header(b"content-length") and request.header(b"transfer-encoding"))
        if request.header(b"transfer-encoding") is not None:
            parts = []
            while size := int(await reader.readuntil(b"\r\n"), 16):
                parts.append(await reader.readexactly(size))
                await reader.readexactly(2)
            await reader.readexactly(2)
            request.body = b"".join(parts)
        else:
            request.body = await reader.readexactly(int(request.header(b"content-length") or 0))
        return request
