"""The plugin's own routes in vLLM's server, under ``/v1/memedit``.

vLLM attaches them only where ``VLLM_PLUGINS`` names ``memedit``.  vLLM's own key (``--api-key``),
where there is one, is asked for all of ``/v1``; it is the key of those who ask the model, so these
routes want another one beside it: ``MEMEDIT_PLUGIN_KEY``, in the header ``memedit-plugin-key``.
"""

from __future__ import annotations

import hmac
import os
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from memedit import __version__
from memedit.adapters.vllm_plugin.library import LIBRARY, AdapterLibrary
from memedit.adapters.vllm_plugin.push import WeightPusher
from memedit.adapters.vllm_plugin.resolver import (
    LibraryResolver,
    StandingRequests,
    library_resolver,
)
from memedit.adapters.vllm_plugin.seams import what_does_not_fit
from memedit.adapters.vllm_plugin.settings import Served
from memedit.errors import AccessError, ConflictError, InvalidInputError, MemeditError

KEY = "MEMEDIT_PLUGIN_KEY"
HEADER = "memedit-plugin-key"


class Wanted(BaseModel):
    """The body of ``PUT /v1/memedit/weights``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    deltas: list[str]
    """Names in the library, in the order in which they are added."""


class MemeditRoutes:
    """vLLM's ``EndpointPlugin``: the routes, and what they and the resolver need of the server."""

    name = "memedit"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._engine: Any = None
        self._pusher: WeightPusher | None = None

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes, where the plugin fits this vLLM; ``register`` has logged if not."""
        if what_does_not_fit():
            return
        router = APIRouter(prefix="/v1/memedit", tags=["memedit"])
        router.add_api_route("/info", self._info, methods=["GET"])
        router.add_api_route("/weights", self._weights, methods=["GET", "PUT"])
        app.include_router(router)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Take the engine; tell the resolver what the server was started with."""
        if what_does_not_fit():
            return
        root = os.environ.get(LIBRARY, "")
        if engine_client is None or not root:
            return
        config = engine_client.vllm_config
        self._engine = engine_client
        resolver = library_resolver() or LibraryResolver(AdapterLibrary(root))
        resolver.served = Served.read(config)
        base = resolver.base(config.model_config.model)
        self._pusher = WeightPusher(engine_client, resolver.library, base)
        models = getattr(state, "openai_serving_models", None)
        if models is not None and hasattr(models, "lora_requests"):
            models.lora_requests = StandingRequests(models.lora_requests, resolver)

    async def _info(self, request: Request) -> JSONResponse:
        return await self._answer(request, self._said)

    async def _weights(self, request: Request) -> JSONResponse:
        act = self._put if request.method == "PUT" else self._in_force
        return await self._answer(request, act)

    async def _answer(self, request: Request, act: Any) -> JSONResponse:
        """Ask for the key, act, and put errors into the form that vLLM's own have."""
        try:
            check_key(os.environ.get(KEY, ""), request.headers.get(HEADER, ""))
            if self._pusher is None:
                raise ConflictError(
                    f"no library: start vLLM with {LIBRARY} set to the folder of adapters"
                )
            return JSONResponse(await act(request, self._pusher))
        except MemeditError as error:
            said = {"message": str(error), "type": error.code, "code": error.status, "param": None}
            return JSONResponse({"error": said}, error.status)

    async def _said(self, request: Request, pusher: WeightPusher) -> dict[str, Any]:
        workers = await self._engine.collective_rpc("memedit_state")
        return {"memedit": __version__, "deltas": list(pusher.names), "workers": workers}

    async def _in_force(self, request: Request, pusher: WeightPusher) -> dict[str, Any]:
        return {"deltas": list(pusher.names)}

    async def _put(self, request: Request, pusher: WeightPusher) -> dict[str, Any]:
        try:
            wanted = Wanted.model_validate_json(await request.body())
        except ValidationError as error:
            raise InvalidInputError(
                f'expected {{"deltas": ["memedit-<id>-<version>", ...]}}: {error}'
            ) from error
        return await pusher.put(wanted.deltas)


def check_key(expected: str, given: str) -> None:
    """Raise ``AccessError`` unless the right key was given; without one, no one is let in."""
    if not expected:
        raise AccessError(f"these routes are closed: start vLLM with a key in {KEY}")
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise AccessError(f"expected the key of {KEY} in the header {HEADER}")
