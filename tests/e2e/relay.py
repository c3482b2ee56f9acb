"""A TCP relay between proxy and upstream that writes down what crosses it, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Message:
    """One HTTP message as it crossed the wire."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    """Without its transfer encoding: what a client or server reads."""
    whole: bool
    """Whether it came to its end."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True)
class Exchange:
    request: Message
    reply: Message | None

    @property
    def is_aside(self) -> bool:
        return self.request.start.split(" ")[1] in {"/tokenize", "/detokenize"}


class Relay:
    """Listens on ``port`` and passes every connection on to ``target_port``."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.cut_after: int | None = None
        """Break a connection once this many bytes of replies have crossed it."""
        self._lock = threading.Lock()
        self._recordings: list[tuple[bytearray, bytearray]] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A listener that another thread sleeps in accept() on is woken by shutdown, not by close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def cut(self) -> None:
        """Break every connection that is open, in the middle of whatever it carries."""
        with self._lock:
            sockets, self._open = list(self._open), set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    @property
    def exchanges(self) -> list[Exchange]:
        """All requests seen so far, in the order of their connections, with their replies."""
        with self._lock:
            recordings = [(bytes(sent), bytes(got)) for sent, got in self._recordings]
        found = []
        for sent, got in recordings:
            replies = iter(_messages(got, request=False))
            found += [Exchange(one, next(replies, None)) for one in _messages(sent, request=True)]
        return found

    def bodies(self, header: str) -> dict[str, bytes]:
        """Map the value of ``header`` to the body of the request that carried it."""
        return {name: one.request.body for name, one in self.marked(header).items()}

    def marked(self, header: str) -> dict[str, Exchange]:
        """Map the value of ``header`` to the exchange it belongs to.

        The proxy asks for tokens and texts with the client's own headers; those are left out.
        """
        named = {one.request.header(header): one for one in self.exchanges if not one.is_aside}
        return {name: one for name, one in named.items() if name is not None}

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            recording = (bytearray(), bytearray())
            with self._lock:
                self._recordings.append(recording)
                self._open |= {near, far}
            for way in ((near, far, recording[0], False), (far, near, recording[1], True)):
                threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, copy: bytearray, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if answers and self.cut_after is not None:
                    data = data[: max(0, self.cut_after - len(copy))]
                    if not data:
                        break
                with self._lock:
                    copy += data
                sink.sendall(data)
        # Either side's end is both sides' end: a client that leaves must be seen to leave.
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            last = source not in self._open
            self._open -= {source, sink}
        if last:  # The other direction is over too, and nobody reads from these any more.
            source.close()
            sink.close()


def _messages(stream: bytes, *, request: bool) -> Iterator[Message]:
    """Split one direction of a connection into its messages (HTTP/1.1)."""
    while stream:
        head, mark, rest = stream.partition(b"\r\n\r\n")
        if not mark:
            return
        start, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        fields = dict(headers)
        if "chunked" in fields.get("transfer-encoding", ""):
            body, stream, whole = _dechunked(rest)
        elif "content-length" in fields or request:
            length = int(fields.get("content-length", "0"))
            body, stream, whole = rest[:length], rest[length:], len(rest) >= length
        else:
            body, stream, whole = rest, b"", True
        yield Message(start, headers, body, whole)


def _dechunked(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = bytearray()
    while True:
        size, mark, after = rest.partition(b"\r\n")
        if not mark:
            return bytes(body), b"", False
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return bytes(body), after.partition(b"\r\n")[2], after.startswith(b"\r\n")
        if len(after) < length + 2:
            return bytes(body + after[:length]), b"", False
        body += after[:length]
        rest = after[length + 2 :]
