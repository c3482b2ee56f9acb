"""The model behind a proxy, asked as its clients ask it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from memedit.errors import InvalidInputError, UpstreamError
from memedit.evaluation.prompts import Form
from memedit.evaluation.protocols import Answer, Forced
from memedit.evaluation.proxy_scores import BYPASS, CHAT, COMPLETIONS, EchoScores, Put

MODELS = "/v1/models"


@dataclass(frozen=True, slots=True)
class Reply:
    """What an HTTP server answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


Send = Callable[[str, str, bytes | None, Mapping[str, str]], Reply]
"""(method, path, body, headers) -> reply; called from several threads."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer with what the proxy says it did."""

    answer: Answer
    edits: tuple[str, ...]
    """Ids out of `x-memedit-edits`, without versions."""


class ProxyModel:
    """The model behind a proxy, unedited: every request asks to bypass the edits.

    `scores` says whether the server can be asked for scores of a target, which is tried once.

    Args:
        send: the way to the proxy.
        url: its address, for messages and reports.
        form: how prompts are put; a server does not say whether it can chat, so that `auto` takes
            it that it can.
        model: the served model's name; `None` takes the first that the server lists.
        at_once: requests in flight.

    """

    def __init__(
        self,
        send: Send,
        url: str,
        *,
        form: Form | str = Form.AUTO,
        model: str | None = None,
        at_once: int = 16,
    ) -> None:
        self._send = send
        self._url = url
        self._form = Form(form)
        self._at_once = at_once
        self._served = model if model is not None else self._first()
        self.name = f"{self._served} behind {urlsplit(url).netloc}"
        self.fingerprint = f"{url} {self._served} {self._form.value}"
        self._echo = EchoScores(self._json, self._served, at_once)
        self.scores = self._echo.possible()

    def is_chat(self, prompt: str) -> bool:
        """Tell whether `prompt` is put as a chat turn."""
        return self._form.is_chat(prompt)

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        """Answer without edits."""
        headers: list[Mapping[str, str]] = [BYPASS] * len(prompts)
        return [said.answer for said in self.ask(prompts, headers, max_new_tokens, min_new_tokens)]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Score targets without edits."""
        return self.score_with(prompts, [BYPASS] * len(prompts), targets)

    def score_with(
        self,
        prompts: Sequence[str],
        headers: Sequence[Mapping[str, str]],
        targets: Sequence[str],
    ) -> list[Forced]:
        """Score targets after the prompts as they reach the model; see `EchoScores`.

        Raises:
            InvalidInputError: the server gives no probabilities of a text that it is handed.
            UpstreamError: it refused a request; the message quotes it.

        """
        if not self.scores:
            raise InvalidInputError(
                f"{self._url} gives no log-probabilities of prompts, so that targets cannot be "
                "scored; its answers alone can be"
            )
        puts = [
            Put(prompt, self.is_chat(prompt), tuple(sorted(given.items())))
            for prompt, given in zip(prompts, headers, strict=True)
        ]
        return self._echo.score(puts, targets)

    def ask(
        self,
        prompts: Sequence[str],
        headers: Sequence[Mapping[str, str]],
        max_new_tokens: int,
        min_new_tokens: int = 0,
    ) -> list[Said]:
        """Ask all prompts, several at a time, greedily; equal questions once.

        Raises:
            UpstreamError: the server refused one; the message quotes it.

        """
        keys = [
            (prompt, tuple(sorted(given.items())))
            for prompt, given in zip(prompts, headers, strict=True)
        ]
        once = list(dict.fromkeys(keys))
        with ThreadPoolExecutor(self._at_once) as pool:
            said = list(
                pool.map(
                    lambda key: self._one(key[0], dict(key[1]), max_new_tokens, min_new_tokens),
                    once,
                )
            )
        found = dict(zip(once, said, strict=True))
        return [found[key] for key in keys]

    def _one(self, prompt: str, headers: Mapping[str, str], most: int, least: int) -> Said:
        chat = self.is_chat(prompt)
        body: dict[str, Any] = {"model": self._served, "max_tokens": most, "temperature": 0}
        if least:
            body["min_tokens"] = least
        if chat:
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        reply = self._checked("POST", CHAT if chat else COMPLETIONS, body, headers, most)
        if reply is None:
            return Said(Answer("", False, -1), ())
        try:
            value = json.loads(reply.body)
            choice = value["choices"][0]
            text = choice["message"]["content"] if chat else choice["text"]
            finished = choice.get("finish_reason") == "stop"
            tokens = int((value.get("usage") or {}).get("prompt_tokens", -1))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UpstreamError(
                f"{self._url} answered with something that is no completion "
                f"({type(error).__name__}); is it a memedit proxy?"
            ) from error
        refs = reply.headers.get("x-memedit-edits", "").split(",")
        edits = tuple(ref.partition("@")[0] for ref in refs if ref)
        return Said(Answer(str(text or "").strip(), finished, tokens), edits)

    def _first(self) -> str:
        reply = self._checked("GET", MODELS, None, {})
        if reply is None:
            raise UpstreamError(f"{self._url}{MODELS} gives no list of models")
        try:
            return str(json.loads(reply.body)["data"][0]["id"])
        except (ValueError, LookupError, TypeError) as error:
            raise UpstreamError(
                f"{self._url}{MODELS} lists no model; is it a memedit proxy with a model behind it?"
            ) from error

    def _json(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[Any, Mapping[str, str]] | None:
        reply = self._checked("POST", path, body, headers, most=1)
        if reply is None:
            return None
        try:
            return json.loads(reply.body), reply.headers
        except ValueError as error:
            raise UpstreamError(f"{self._url}{path} answered with no JSON") from error

    def _checked(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], most: int = 0
    ) -> Reply | None:
        """Return what the server said; `None` where the prompt is longer than the model reads."""
        given = {"content-type": "application/json", **headers}
        reply = self._send(method, path, None if body is None else json.dumps(body).encode(), given)
        if reply.status == 400 and most and b"context length" in reply.body:
            return None
        if reply.status != 200:
            said = reply.body[:500].decode(errors="replace")
            raise UpstreamError(f"{self._url}{path} answered {reply.status}: {said}")
        return reply
