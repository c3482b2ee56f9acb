"""The edit API under /memedit/v1: edits and their history, search, dry runs, numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import memedit
from memedit.config import ServeSettings
from memedit.errors import InvalidInputError, MemeditError
from memedit.faults import each_of
from memedit.routing import RouteQuery, Router, wire_for
from memedit.routing.answering import foreseen
from memedit.routing.providing import foreseen_provided
from memedit.routing.wire.base import NotRead, TextPrompt
from memedit.serving.asgi import App, Receive, Reply, Scope, Send, header, read_body
from memedit.serving.auth import Guard, Unauthorized
from memedit.serving.edit_bodies import (
    EXAMPLES,
    AddedEdits,
    AddEdits,
    EditPage,
    Edits,
    Failure,
    Found,
    Namespaces,
    NewVersion,
    RouteQuestions,
    Routes,
)
from memedit.types import Edit, Namespace, QueryText, Status, Surface

if TYPE_CHECKING:
    from memedit.memory import EditMemory

PREFIX = "/memedit/v1"
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Failure, "description": "What was asked cannot be done; nothing changed."},
    "5XX": {"model": Failure, "description": "The memory cannot answer."},
}


_CODES = {400: InvalidInputError.code, 404: "not_found", 405: "method_not_allowed"}

EditId = Annotated[
    str, Path(description="The edit's id, or id@version.", examples=["e-0f3k9z2m7q1x"])
]


class UnsupportedMediaType(MemeditError):
    """A body that is not said to be JSON."""

    code = "unsupported_media_type"
    status = 415


def create_edit_api(
    settings: ServeSettings,
    guard: Guard,
    router: Router,
    memory: EditMemory,
    namespace: str,
    written: Callable[[Sequence[Edit]], None] = lambda edits: None,
    *,
    agent: str | None = None,
    fault: Callable[[str], str | None] | None = None,
) -> App:
    """Make the ASGI app that answers everything under /memedit/.

    ``written`` is told of edits that are in the memory now, from any thread, and must not fail;
    ``agent`` is the method that answers prompts which depend on edits, if one does; ``fault`` says
    in a word why an adapter cannot be used, if anything is known.
    """
    api = FastAPI(
        title="memedit edit API",
        version=memedit.__version__,
        description="Edits of a served model's knowledge: live for the next request.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        exception_handlers={
            MemeditError: _memedit_error,
            RequestValidationError: _invalid,
            HTTPException: _http_error,
            Exception: _defect,
        },
    )
    key = HTTPBearer(
        scheme_name="admin key",
        description="One of serve.admin_keys; none is needed where none is set.",
        auto_error=False,
    )
    api.include_router(
        _routes(router, memory, namespace, written, agent, fault),
        prefix=PREFIX,
        dependencies=[Depends(key)],  # documents it; the check itself comes before all of this
        responses=_ERRORS,
    )
    return _EditApi(api, guard, settings.max_body_bytes)


class _EditApi:
    """Checks key, content type and length of a request before anything reads it."""

    def __init__(self, api: FastAPI, guard: Guard, limit: int) -> None:
        self._api = api
        self._guard = guard
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        try:
            self._guard.check_admin(headers)
            if scope["method"] not in ("GET", "HEAD", "DELETE"):
                # A web page can send a form or plain text to another site, but not JSON.
                kind = (header(headers, b"content-type") or b"").split(b";")[0].strip().lower()
                if kind != b"application/json":
                    raise UnsupportedMediaType(
                        f"got content type {kind.decode('latin-1')!r}, expected application/json"
                    )
            body = await read_body(scope, receive, self._limit)
        except MemeditError as error:
            extra = ((b"www-authenticate", b"Bearer"),) if isinstance(error, Unauthorized) else ()
            await Reply.of_json(error.status, _error(error.code, str(error)), extra).send(send)
            return
        given = False

        async def again() -> dict[str, Any]:
            nonlocal given
            if given:
                return dict(await receive())
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._api(scope, again, send)


def _routes(
    router: Router,
    memory: EditMemory,
    namespace: str,
    written: Callable[[Sequence[Edit]], None],
    agent: str | None,
    fault: Callable[[str], str | None] | None,
) -> APIRouter:
    api = APIRouter()

    @api.post("/edits", status_code=201, summary="Add edits")
    def add(body: Annotated[AddEdits, Body(openapi_examples=EXAMPLES)]) -> AddedEdits:
        """Add edits, all or none.  Answered when they are durable; live for the next request."""
        edits = memory.add(
            body.edits,
            namespace=body.namespace or namespace,
            author=body.author,
            valid_from=body.valid_from,
            valid_to=body.valid_to,
            on_duplicate=body.on_duplicate,
            on_conflict=body.on_conflict,
        )
        written(edits)
        return AddedEdits(edits=edits, conflicts=list(edits.conflicts))

    @api.get("/edits", summary="List edits")
    def list_edits(
        namespace: Annotated[Namespace | None, Query(description="Absent: all.")] = None,
        status: Annotated[
            Status | Literal["all"], Query(description="`all`: of every status.")
        ] = Status.LIVE,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    ) -> EditPage:
        """List edits in the order of their ids, a page at a time."""
        wanted = status if isinstance(status, Status) else None
        edits = memory.list(namespace=namespace, status=wanted, limit=limit, after=after)
        return EditPage(edits=edits, next=edits[-1].id if len(edits) == limit else None)

    @api.get("/edits/{edit_id}", summary="Get an edit")
    def get(edit_id: EditId, version: Annotated[int | None, Query(ge=1)] = None) -> Edit:
        """Return the newest version of an edit, or the one that is asked for."""
        return memory.get(edit_id, version=version)

    @api.put("/edits/{edit_id}", summary="Supersede an edit")
    def supersede(edit_id: EditId, body: NewVersion) -> Edit:
        """Write a new version of a live edit; the old one stays in its history."""
        edit = memory.supersede(
            edit_id,
            body.request,
            author=body.author,
            valid_from=body.valid_from,
            valid_to=body.valid_to,
        )
        written([edit])
        return edit

    @api.delete("/edits/{edit_id}", summary="Retract an edit")
    def retract(
        edit_id: EditId,
        author: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Edit:
        """Retract a live edit; it stays in its history."""
        return memory.retract(edit_id, author=author)

    @api.get("/edits/{edit_id}/history", summary="History of an edit")
    def history(edit_id: EditId) -> Edits:
        """Return all versions of an edit, and its retraction, oldest first."""
        return Edits(edits=memory.history(edit_id))

    @api.get("/search", summary="Search edits")
    def search(
        q: Annotated[str, Query(min_length=1, max_length=4_096, examples=["Who rules Mars?"])],
        namespace: Annotated[list[Namespace] | None, Query()] = None,
        k: Annotated[int, Query(ge=1, le=100)] = 5,
    ) -> Found:
        """Return the live edits most similar to a text, most similar first."""
        found = memory.search(q, namespaces=tuple(namespace or (default,)), k=k)
        return Found.of(found)

    @api.post("/route", summary="Route prompts, without asking any model")
    def route(body: RouteQuestions) -> Routes:
        """Tell what would be done with prompts or a conversation, and why."""
        given = [body.messages] if body.messages is not None else body.prompts or []
        queries = [
            RouteQuery(
                QueryText(asked) if isinstance(asked, str) else _query_of(asked),
                Surface.COMPLETION if body.surface == "completion" else Surface.CHAT,
                tuple(body.namespaces or (default,)),
                body.threshold,
            )
            for asked in given
        ]
        decided = [foreseen_provided(one, fault) for one in router.decide(queries)]
        return Routes(
            routes=[
                {"prompt": query.query.text, **foreseen(agent, asked, query, one).to_dict()}
                for asked, query, one in zip(given, queries, decided, strict=True)
            ]
        )

    @api.get("/stats", summary="Numbers of the memory")
    def stats() -> dict[str, Any]:
        """Return what the memory tells about itself."""
        return memory.stats()

    @api.get("/namespaces", summary="Live edits by namespace")
    def namespaces() -> Namespaces:
        """Return every namespace with its number of live edits."""
        return Namespaces(namespaces=memory.namespaces())

    default = namespace
    return api


def _query_of(messages: Sequence[dict[str, Any]]) -> QueryText:
    """Read the question out of a conversation, as the chat format does."""
    chat = wire_for("POST", "/v1/chat/completions")
    try:
        prompts = chat.read({"messages": messages}) if chat is not None else ()
    except NotRead as outcome:
        raise InvalidInputError(f"messages ask nothing in words ({outcome.note})") from None
    (prompt,) = (prompt for prompt in prompts if isinstance(prompt, TextPrompt))
    return prompt.query


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


async def _memedit_error(request: Request, error: MemeditError) -> JSONResponse:
    return JSONResponse(_error(error.code, str(error)), error.status)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Name every fault and its place; what was sent is not repeated."""
    faults = "; ".join(each_of(error.errors()[:20]))
    return JSONResponse(_error(InvalidInputError.code, faults), 422)


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    code = _CODES.get(error.status_code, "http_error")
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(_error(code, message), error.status_code, headers=dict(error.headers or {}))


async def _defect(request: Request, error: Exception) -> JSONResponse:
    """Answer what was not raised on purpose; it is raised on, into the log."""
    message = f"memedit failed ({type(error).__name__}); its log says more"
    return JSONResponse(_error(MemeditError.code, message), 500)
