"""Serves an app until it is told to stop."""

from __future__ import annotations

import errno
import logging
import socket

import uvicorn

from memedit.config import ServeSettings
from memedit.errors import SettingsError
from memedit.serving.asgi import App
from memedit.serving.logs import configure_logging

log = logging.getLogger(__name__)

GRACE_SECONDS = 30
"""How long answers may still take when the process is asked to stop."""
IDLE_SECONDS = 75
"""How long an idle client connection is kept: longer than load balancers in front keep theirs."""
BACKLOG = 2_048


def run(app: App, settings: ServeSettings) -> None:
    """Serve ``app`` until SIGINT or SIGTERM; then finish the answers that are under way.

    Raises:
        SettingsError: the address cannot be listened on.

    """
    configure_logging(settings.log_level)
    listener = listen(settings.host, settings.port)
    with listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("listening", extra={"fields": {"url": f"http://{shown}:{port}"}})
        uvicorn.Server(server_config(app)).run(sockets=[listener])


def server_config(app: App) -> uvicorn.Config:
    """Return how the app is served: no header is added to what it answers, nothing is logged."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )


def listen(host: str, port: int, section: str = "serve") -> socket.socket:
    """Open the listening socket; port 0 takes any free one.

    Args:
        host: name or address.
        port: 0 takes any free one.
        section: of the settings that named them, for the error.

    Raises:
        SettingsError: says why it cannot be listened on.

    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(
            f"{section}.host {host!r} is no address of this machine: {error}"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = (
            f"; stop what listens there, or choose another {section}.port"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror or error}{hint}"
        ) from None
    return listener
