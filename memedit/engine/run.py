"""Runs the embedded engine as a server of its own."""

from __future__ import annotations

import copy
import logging
import socket
import time
from typing import Any

import uvicorn
import uvicorn.config

from memedit.config import EngineSettings
from memedit.engine.loading import load_model, need_models_extra
from memedit.errors import SettingsError

logger = logging.getLogger(__name__)


def run_engine(settings: EngineSettings, listener: socket.socket | None = None) -> None:
    """Load the model, then serve it until interrupted; blocks.

    Without a ``listener`` nothing listens before the model is in memory; whoever connects to one
    earlier waits until then.  The log says ``serving NAME at URL`` when the model is served, with
    the port that was found where ``settings.port`` is 0.

    Args:
        settings: the model and where to listen.
        listener: a listening socket to serve on, whatever the settings say; stays the caller's.

    Raises:
        SettingsError: no model is named.
        MissingResourceError: the checkpoint, the device or a package is not there.
        InvalidInputError: the checkpoint cannot be served.

    """
    if settings.model is None:
        raise SettingsError("engine.model is not set; name a checkpoint folder with --model PATH")
    need_models_extra()
    from memedit.engine.app import create_engine_app  # imports torch, which is optional

    began = time.monotonic()
    loaded = load_model(
        settings.model,
        name=settings.served_model_name,
        dtype=settings.dtype,
        device=settings.device,
    )
    seconds = time.monotonic() - began
    config = uvicorn.Config(
        create_engine_app(loaded),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=_log_config(),
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    ready = (
        f"serving {loaded.name} ({loaded.model.dtype}, {loaded.device}, loaded in {seconds:.1f} s)"
    )
    _Server(config, ready).run(None if listener is None else [listener])


class _Server(uvicorn.Server):
    """Says so when it listens."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then log where."""
        await super().startup(sockets)
        if self.started and self.servers:
            port = self.servers[0].sockets[0].getsockname()[1]
            host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
            logger.info("%s at http://%s:%d", self._ready, host, port)


def _log_config() -> dict[str, Any]:
    """Return uvicorn's own logging, with the engine's lines beside it."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["loggers"]["memedit"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config
