"""The edit API without the network: each function says what to send and how to read the reply.

Written once, sent by ``Client`` and ``AsyncClient`` alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from memedit.client.replies import RouteReport, SearchHit, failure
from memedit.errors import InvalidInputError, UpstreamError
from memedit.faults import faults_of
from memedit.types import Added, Conflict, Edit, EditRequest, Status, Surface

T = TypeVar("T")
PREFIX = "/memedit/v1"
PAGE = 500
"""Edits asked for at once when a listing is walked through."""

_EDIT = TypeAdapter(Edit)
_EDITS = TypeAdapter(tuple[Edit, ...])
_CONFLICTS = TypeAdapter(tuple[Conflict, ...])
_HITS = TypeAdapter(tuple[SearchHit, ...])
_ROUTES = TypeAdapter(tuple[RouteReport, ...])
_COUNTS = TypeAdapter(dict[str, int])
_OBJECT = TypeAdapter(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to the edit API, and the reading of its reply."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None

    def content(self) -> bytes | None:
        """Return the body to send, if there is one."""
        return None if self.body is None else json.dumps(self.body).encode()

    def result(self, status: int, content: bytes) -> T:
        """Read a reply.

        Raises:
            MemeditError: the very class that the server raised, found by the reply's ``code``.

        """
        if not 200 <= status < 300:
            raise failure(f"{self.method} {self.path}", status, content)
        try:
            return self.read(json.loads(content))
        except (ValueError, LookupError, TypeError) as error:
            raise UpstreamError(
                f"{self.method} {self.path} was answered with something that is no reply of the "
                f"edit API ({type(error).__name__}); is the base URL that of a memedit proxy, "
                "of the same version?"
            ) from error


def add(
    requests: Sequence[EditRequest],
    *,
    namespace: str | None = None,
    author: str | None = None,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    on_duplicate: Literal["store", "return"] | None = None,
    on_conflict: Literal["keep", "supersede", "reject"] | None = None,
) -> Call[Added]:
    """Store edits in one transaction; they are durable and live when the call returns.

    Args:
        requests: the facts to change; all are stored, or none.
        namespace: where to; ``None`` is the server's own default.
        author: who asks for it, kept in the history.
        valid_from: aware; before it the edits do not fire.
        valid_to: aware; from it on the edits do not fire.
        on_duplicate: ``return`` gives back the live edit with the same request, namespace and
            validity, so that adding twice is adding once; ``store`` (the default) adds another.
        on_conflict: what is done where one contradicts a live edit: ``keep`` both, ``supersede``
            one of the same prompt, ``reject`` them all (``ConflictError``); ``None`` is the
            server's own policy.  The answer's ``conflicts`` say what is contradicted.

    """
    stranger = next((one for one in requests if not isinstance(one, EditRequest)), None)
    if isinstance(requests, EditRequest) or stranger is not None:
        got = type(requests if isinstance(requests, EditRequest) else stranger).__name__
        raise InvalidInputError(
            f"add takes a list of EditRequest objects; got {got}. "
            "Write add([EditRequest(prompt=..., subject=..., target_new=...)])"
        )
    window = _given(valid_from=valid_from, valid_to=valid_to)
    body = {
        "edits": [request.model_dump(mode="json", exclude_defaults=True) for request in requests],
        **_given(namespace=namespace, author=author, on_duplicate=on_duplicate),
        **_given(on_conflict=on_conflict),
        **window,
    }
    return Call("POST", f"{PREFIX}/edits", _added, body=body)


def feedback(
    prompt: str,
    correction: str,
    *,
    subject: str | None = None,
    rephrases: Sequence[str] = (),
    namespace: str | None = None,
    author: str | None = None,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    on_conflict: Literal["keep", "supersede", "reject"] | None = None,
) -> Call[Edit]:
    """Store the correction of an answer as an edit, live when the call returns.

    The method ``memprompt`` is made for such edits; every other method can use them too.

    Args:
        prompt: what was asked.
        correction: what should have been answered, or what to mind, in free words.
        subject: what the correction is about; ``None``: see ``EditRequest.feedback``.
        rephrases: other ways to ask, for which the correction holds too.
        namespace: as in ``add``; so are the others.
        author: who corrects.
        valid_from: aware.
        valid_to: aware.
        on_conflict: what is done where another correction of the same prompt is live.

    Raises:
        InvalidInputError: a text is empty or too long; says which.

    """
    try:
        request = EditRequest.feedback(prompt, correction, subject=subject, rephrases=rephrases)
    except ValidationError as error:
        raise InvalidInputError(
            f"this is no feedback: {faults_of(error)} (the correction is target_new and statement)"
        ) from None
    added = add(
        [request],
        namespace=namespace,
        author=author,
        valid_from=valid_from,
        valid_to=valid_to,
        on_conflict=on_conflict,
    )
    return Call(added.method, added.path, lambda reply: _added(reply)[0], body=added.body)


def get(edit_id: str, *, version: int | None = None) -> Call[Edit]:
    """Return one edit: its newest version, or the one asked for (``id@version`` works as well)."""
    params = () if version is None else (("version", str(version)),)
    return Call("GET", _edit_path(edit_id), _EDIT.validate_python, params)


def page(
    *,
    namespace: str | None = None,
    status: Status | None = Status.LIVE,
    limit: int = PAGE,
    after: str | None = None,
) -> Call[list[Edit]]:
    """Return at most ``limit`` edits in the order of their ids, those behind ``after``."""
    wanted = "all" if status is None else status.value
    given = _given(namespace=namespace, status=wanted, limit=limit, after=after)
    params = tuple((name, str(value)) for name, value in given.items())
    return Call("GET", f"{PREFIX}/edits", lambda reply: _edits(reply["edits"]), params)


def pages(
    namespace: str | None, status: Status | None
) -> Generator[Call[list[Edit]], list[Edit], None]:
    """Ask for page after page of a listing until one is not full."""
    after = None
    while True:
        found = yield page(namespace=namespace, status=status, after=after)
        if len(found) < PAGE:
            return
        after = found[-1].ref


def search(
    text: str, *, namespaces: Sequence[str] | None = None, k: int = 5
) -> Call[list[SearchHit]]:
    """Return the ``k`` live edits that are nearest to ``text``, most similar first."""
    params = (("q", text), ("k", str(k)), *(("namespace", name) for name in namespaces or ()))
    return Call(
        "GET",
        f"{PREFIX}/search",
        lambda reply: list(_HITS.validate_python(reply["candidates"])),
        params,
    )


def supersede(
    edit_id: str,
    request: EditRequest,
    *,
    author: str | None = None,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> Call[Edit]:
    """Replace an edit by a new version of it; the old one stays in the history."""
    body = {
        "request": request.model_dump(mode="json", exclude_defaults=True),
        **_given(author=author, valid_from=valid_from, valid_to=valid_to),
    }
    return Call("PUT", _edit_path(edit_id), _EDIT.validate_python, body=body)


def retract(edit_id: str, *, author: str | None = None) -> Call[Edit]:
    """Take an edit back: the model's own answer returns with the next request."""
    params = () if author is None else (("author", author),)
    return Call("DELETE", _edit_path(edit_id), _EDIT.validate_python, params)


def history(edit_id: str) -> Call[list[Edit]]:
    """Return every version of an edit, oldest first."""
    return Call("GET", f"{_edit_path(edit_id)}/history", lambda reply: _edits(reply["edits"]))


def route(
    prompts: Sequence[str | Sequence[Mapping[str, Any]]],
    *,
    namespaces: Sequence[str] | None = None,
    threshold: float | None = None,
    surface: Surface = Surface.CHAT,
) -> Call[list[RouteReport]]:
    """Say what would be done with each prompt, and why; nothing is sent to a model.

    Args:
        prompts: texts, or conversations as lists of ``{"role": ..., "content": ...}``.
        namespaces: which edits may fire; ``None`` is the server's own default.
        threshold: the probability from which an edit fires; ``None`` is the classifier's own.
        surface: whether texts are chat turns, or to be continued.

    """
    if isinstance(prompts, str):
        raise InvalidInputError("route takes a list of prompts; got one text: write route([text])")
    body = {
        "prompts": list(prompts),
        "surface": surface.value,
        **_given(namespaces=namespaces, threshold=threshold),
    }
    return Call("POST", f"{PREFIX}/route", _routes, body=body)


def stats() -> Call[dict[str, Any]]:
    """Return counts of the memory, its encoder and its index."""
    return Call("GET", f"{PREFIX}/stats", _OBJECT.validate_python)


def namespaces() -> Call[dict[str, int]]:
    """Return the namespaces with the number of live edits in each."""
    return Call("GET", f"{PREFIX}/namespaces", _counts)


def _edits(raw: Any) -> list[Edit]:
    return list(_EDITS.validate_python(raw))


def _added(raw: Any) -> Added:
    # an older server says nothing of conflicts
    return Added(_edits(raw["edits"]), _CONFLICTS.validate_python(raw.get("conflicts", ())))


def _routes(raw: Any) -> list[RouteReport]:
    return list(_ROUTES.validate_python(raw["routes"]))


def _counts(raw: Any) -> dict[str, int]:
    return _COUNTS.validate_python(raw["namespaces"])


def _edit_path(edit_id: str) -> str:
    return f"{PREFIX}/edits/{quote(edit_id, safe='@')}"


def _given(**values: Any) -> dict[str, Any]:
    """Keep what is not ``None``, JSON-ready."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }
