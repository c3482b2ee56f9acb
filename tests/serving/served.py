"""A proxy on a real port, and a client that shows what came back."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn

from memedit.serving.server import listen, server_config


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A proxy on a real port, in a thread, as ``run`` would serve it."""

    def __init__(self, app: Any) -> None:
        self._socket = listen("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        config = server_config(app)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        for _ in range(2_000):
            if self.server.started:
                break
            threading.Event().wait(0.005)
        assert self.server.started

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
            if body is not None and not any(k.lower() == "content-length" for k, _ in pairs):
                pairs.append(("content-length", str(len(body))))
            for name, value in pairs:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def post(self, target: str, value: Any, **headers: str) -> Answer:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        named.setdefault("content-type", "application/json")
        return self.ask("POST", target, json.dumps(value).encode(), named)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(15)
        self._socket.close()


Serve = Callable[..., Served]
