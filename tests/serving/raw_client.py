"""A client on a raw socket, for what no HTTP library would send or show."""

from __future__ import annotations

import socket


class RawClient:
    """One connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def post(self, path: bytes, body: bytes, *headers: bytes) -> None:
        lines = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-type: application/json"]
        lines += [*headers, b"content-length: %d" % len(body), b"", body]
        self.send(b"\r\n".join(lines))

    def until(self, mark: bytes) -> bytes:
        """Read until ``mark`` has come, or the connection ends."""
        got = b""
        while mark not in got:
            part = self.socket.recv(65_536)
            if not part:
                break
            got += part
        return got

    def rest(self) -> bytes:
        """Read until the connection ends."""
        got = b""
        while part := self.socket.recv(65_536):
            got += part
        return got
