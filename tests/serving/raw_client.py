"""A client on a raw socket, for what no HTTP library would send or show."""

from __future__ import annotations

import socket


class RawClient:
    """One connection to a port of this machine."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._ahead = b""

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
        """Read up to and with ``mark``, or to the end of the connection."""
        while mark not in self._ahead:
            part = self.socket.recv(65_536)
            if not part:
                break
            self._ahead += part
        end = self._ahead.find(mark)
        size = len(self._ahead) if end < 0 else end + len(mark)
        got, self._ahead = self._ahead[:size], self._ahead[size:]
        return got

    def rest(self) -> bytes:
        """Read until the connection ends."""
        got, self._ahead = self._ahead, b""
        while part := self.socket.recv(65_536):
            got += part
        return got
