"""The embedded engine's ASGI app: the routes that clients of vLLM know."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import memedit
from memedit.engine.bodies import (
    DetokenizeBody,
    TokenizeChatBody,
    TokenizeTextBody,
    check_model,
    read_body,
)
from memedit.engine.chat import ChatCompletions
from memedit.engine.completions import Completions, encoded
from memedit.engine.detokenizer import TokenTexts
from memedit.engine.faults import ApiFault, answer_fault
from memedit.engine.loading import LoadedModel, load_model
from memedit.engine.scheduler import Scheduler
from memedit.engine.template import rendered
from memedit.errors import InvalidInputError, MemeditError


def create_engine_app(
    model: LoadedModel | str | Path,
    served_model_name: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    *,
    max_batch: int = 32,
) -> Starlette:
    """Return the app that serves ``model``.

    The model is in memory when this returns; the worker thread runs from the app's startup to its
    shutdown.  Apps share nothing: several can run in one process.

    Args:
        model: a loaded model, or the folder of a checkpoint to load.
        served_model_name: what clients call it; for a folder the default is the folder's name.
        dtype: see ``load_model``; ignored for a loaded model.
        device: see ``load_model``; ignored for a loaded model.
        max_batch: sequences decoded at once.

    Raises:
        MissingResourceError: see ``load_model``.
        InvalidInputError: see ``load_model``.

    """
    if not isinstance(model, LoadedModel):
        model = load_model(Path(model), name=served_model_name, dtype=dtype, device=device)
    elif served_model_name is not None and served_model_name != model.name:
        raise InvalidInputError(
            f"the loaded model is called {model.name!r}, not {served_model_name!r}"
        )
    scheduler = Scheduler(model, max_batch=max_batch)
    texts = TokenTexts(model.tokenizer)
    about = _About(scheduler, texts)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with scheduler:
            yield

    app = Starlette(
        routes=[
            Route(
                "/v1/chat/completions", ChatCompletions(scheduler, texts).__call__, methods=["POST"]
            ),
            Route("/v1/completions", Completions(scheduler, texts).__call__, methods=["POST"]),
            Route("/v1/models", about.models),
            Route("/v1/models/{name:path}", about.model),
            Route("/tokenize", about.tokenize, methods=["POST"]),
            Route("/detokenize", about.detokenize, methods=["POST"]),
            Route("/health", about.health),
            Route("/ping", about.health, methods=["GET", "POST"]),
            Route("/version", about.version),
        ],
        exception_handlers={
            HTTPException: answer_fault,
            MemeditError: answer_fault,
            Exception: answer_fault,
        },
        lifespan=lifespan,
    )
    app.state.scheduler = scheduler
    return app


class _About:
    """The routes that generate nothing."""

    def __init__(self, scheduler: Scheduler, texts: TokenTexts) -> None:
        self._scheduler = scheduler
        self._loaded = scheduler.loaded
        self._texts = texts
        self._created = int(time.time())

    async def health(self, request: Request) -> Response:
        """200 with an empty body while requests can be worked on; 503 otherwise."""
        return Response(status_code=200 if self._scheduler.alive else 503)

    async def version(self, request: Request) -> Response:
        return JSONResponse({"version": memedit.__version__})

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self._loaded.name:
            raise ApiFault(f"The model `{name}` does not exist.", status=404, param="model")
        return JSONResponse(self._card())

    async def tokenize(self, request: Request) -> Response:
        """Tokens of ``prompt``, or of ``messages`` through the chat template."""
        raw = await request.body()
        tokens: list[int]
        body: TokenizeTextBody | TokenizeChatBody
        if _has_messages(raw):
            body = await read_body(request, TokenizeChatBody)
            text = rendered(self._loaded.tokenizer, body)
        else:
            body = await read_body(request, TokenizeTextBody)
            text = body.prompt
        check_model(body, self._loaded.name)
        tokens = encoded(self._loaded, text, special=body.add_special_tokens)
        pieces = self._loaded.tokenizer.convert_ids_to_tokens(tokens)
        return JSONResponse(
            {
                "count": len(tokens),
                "max_model_len": self._loaded.max_length,
                "tokens": tokens,
                "token_strs": pieces if body.return_token_strs else None,
            }
        )

    async def detokenize(self, request: Request) -> Response:
        body = await read_body(request, DetokenizeBody)
        check_model(body, self._loaded.name)
        if body.tokens and max(body.tokens) >= self._loaded.vocab_size:
            raise ApiFault(
                f"Token id {max(body.tokens)} is out of vocabulary; expected ids below "
                f"{self._loaded.vocab_size}.",
                param="tokens",
            )
        return JSONResponse({"prompt": self._loaded.tokenizer.decode(body.tokens)})

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._loaded.name,
            "object": "model",
            "created": self._created,
            "owned_by": "memedit",
            "root": self._loaded.name,
            "parent": None,
            "max_model_len": self._loaded.max_length,
            "permission": [],
        }


def _has_messages(raw: bytes) -> bool:
    """Whether the body is that of a chat; a body that is no JSON is left to be refused later."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and "messages" in body
