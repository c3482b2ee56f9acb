"""One question put to a model, through the proxy or with the client's own transport."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from memedit.errors import InvalidInputError, UpstreamError, UpstreamTimeout, UpstreamUnreachable

HEADERS = ("route", "reason", "edits", "method", "note")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how."""

    text: str
    model: str | None = None
    completion: bool = False
    bypass: bool = False
    max_tokens: int = 64
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the model's words, and what the ``x-memedit-*`` headers say."""

    text: str
    model: str
    route: dict[str, Any] = field(default_factory=dict)


@contextmanager
def sender(
    url: str | None,
    upstream: str | None,
    memory: str | None,
    key: str | None,
    config: Path | None,
) -> Iterator[httpx2.Client]:
    """Open the way to the model: the proxy at ``url``, or the upstream with edits put in here."""
    import typer

    if url is not None:
        if memory is not None or upstream is not None:
            raise typer.BadParameter(
                "a proxy has its own memory and upstream; give --url alone.", param_hint="--url"
            )
        with _http(url, key) as http:
            yield http
        return
    from memedit.client import http_client
    from memedit.config import Settings

    settings = Settings.read(config, {"memory": {"url": memory}, "serve": {"upstream": upstream}})
    own_key = settings.serve.upstream_api_key
    chosen_key = key or (own_key.get_secret_value() if own_key else None)
    with http_client(settings=settings, **_options(settings.serve.upstream, chosen_key)) as http:
        yield http


def put(http: httpx2.Client, question: Question) -> Answer:
    """Ask, greedily; the same question gives the same answer.

    Raises:
        UpstreamError: not reached, no answer in time, or an error, which the message quotes.

    """
    model = question.model or _first_model(http)
    headers = {"x-memedit-bypass": "1"} if question.bypass else {}
    if question.namespaces:
        headers["x-memedit-namespace"] = ",".join(question.namespaces)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": question.max_tokens,
        "temperature": 0,
    }
    if question.completion:
        body["prompt"] = question.text
        reply = _send(http, "POST", "/v1/completions", body, headers)
        text = _dig(reply, "choices", 0, "text")
    else:
        body["messages"] = [{"role": "user", "content": question.text}]
        reply = _send(http, "POST", "/v1/chat/completions", body, headers)
        text = _dig(reply, "choices", 0, "message", "content")
    said = {name: reply.headers.get(f"x-memedit-{name}") for name in HEADERS}
    return Answer(str(text or "").strip(), model, {"model": model, **said})


def _first_model(http: httpx2.Client) -> str:
    reply = _send(http, "GET", "/v1/models", None, {})
    return str(_dig(reply, "data", 0, "id"))


def _send(
    http: httpx2.Client, method: str, path: str, body: Any, headers: dict[str, str]
) -> httpx2.Response:
    try:
        reply = http.request(method, path, json=body, headers=headers)
    except httpx2.TimeoutException as error:
        raise UpstreamTimeout(f"no answer from {http.base_url} in time") from error
    except httpx2.HTTPError as error:
        raise UpstreamUnreachable(f"cannot reach {http.base_url}: {error}") from error
    if reply.status_code >= 400:
        raise UpstreamError(f"{http.base_url} answered {reply.status_code}: {reply.text[:500]}")
    return reply


def _dig(reply: httpx2.Response, *path: str | int) -> Any:
    try:
        found = reply.json()
        for step in path:
            found = found[step]
        return found
    except (json.JSONDecodeError, LookupError, TypeError) as error:
        raise UpstreamError(
            f"{reply.request.url} answered without {'.'.join(map(str, path))}; "
            "is it the server of an OpenAI-compatible model?"
        ) from error


def _options(base_url: str, key: str | None) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        url = httpx2.URL(base_url.rstrip("/").removesuffix("/v1"))
    except httpx2.InvalidURL as error:
        raise InvalidInputError(f"{base_url!r} is no URL: {error}") from error
    return {"base_url": url, "headers": headers}


def _http(base_url: str, key: str | None) -> httpx2.Client:
    return httpx2.Client(timeout=600.0, **_options(base_url, key))
