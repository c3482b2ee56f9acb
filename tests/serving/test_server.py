from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from typing import Any

import pytest

from memedit.config import ServeSettings
from memedit.errors import SettingsError
from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.serving import create_app
from memedit.serving.logs import configure_logging
from memedit.serving.server import listen
from memedit.serving.upstream import Upstream
from tests.serving.raw_client import RawClient
from tests.serving.raw_upstream import RawUpstream, Received, whole
from tests.serving.served import Served


def test_settings_that_let_strangers_edit_are_refused(memory: EditMemory, router: Router) -> None:
    with pytest.raises(SettingsError, match="admin_keys"):
        create_app(ServeSettings(host="0.0.0.0"), router, memory)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://u:p@x", "http://x?y", "http://x#y"]
)
def test_an_upstream_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"serve\.upstream"):
        Upstream(ServeSettings(upstream=url))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("{}", b"/v1/models"),
        ("{}/", b"/v1/models"),
        ("{}/v1", b"/v1/models"),
        ("{}/v1/", b"/v1/models"),
        ("{}/base", b"/base/v1/models"),
        ("{}/base/v1", b"/base/v1/models"),
    ],
)
def test_the_upstream_may_be_written_as_clients_write_it(
    serve: Any, upstream: RawUpstream, url: str, target: bytes
) -> None:
    assert serve(upstream=url.format(upstream.url)).ask("GET", "/v1/models").status == 200
    assert upstream.last().target == target


def test_a_taken_port_is_a_setting_that_cannot_be_used() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(SettingsError, match=r"serve\.port"):
            listen("127.0.0.1", port)
    with pytest.raises(SettingsError, match=r"serve\.host"):
        listen("no-such-host.invalid", 0)


def test_stopping_finishes_what_is_under_way_and_lets_go_of_everything(
    upstream: RawUpstream, memory: EditMemory, router: Router
) -> None:
    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await whole(b"late but whole")(request, writer)

    upstream.default = slow
    proxy = Served(create_app(ServeSettings(upstream=upstream.url), router, memory))
    with RawClient(proxy.port) as client:
        client.post(b"/v1/completions", b'{"prompt":"x"}')
        while not upstream.requests:
            time.sleep(0.01)
        proxy.stop()
        assert client.rest().endswith(b"late but whole")
    assert not any(thread.name == "memedit-decide" for thread in threading.enumerate())
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", proxy.port), timeout=1):
        pass


def test_connections_to_the_upstream_are_kept_and_those_it_closed_are_not_used(
    serve: Any, upstream: RawUpstream
) -> None:
    proxy = serve()
    for _ in range(20):
        assert proxy.post("/v1/completions", {"prompt": "x"}).status == 200
    assert upstream.connections == 1

    async def once(request: Received, writer: asyncio.StreamWriter) -> None:
        await whole()(request, writer)
        writer.close()

    upstream.default = once
    for _ in range(20):
        assert proxy.post("/v1/completions", {"prompt": "x"}).status == 200
        time.sleep(0.01)
    assert len(upstream.requests) == 40


def test_logging_is_set_up_by_whoever_serves_only() -> None:
    names = ("memedit", "uvicorn")
    before = {n: (logging.getLogger(n).handlers[:], logging.getLogger(n).level) for n in names}
    try:
        assert not before["memedit"][0]
        configure_logging("warning")
        assert logging.getLogger("memedit").level == logging.WARNING
        assert not logging.getLogger("memedit").propagate
        configure_logging("debug")
        assert len(logging.getLogger("memedit").handlers) == 1
        assert logging.getLogger("uvicorn").level == logging.WARNING
    finally:
        for name, (handlers, level) in before.items():
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = handlers, True
            logger.setLevel(level)
