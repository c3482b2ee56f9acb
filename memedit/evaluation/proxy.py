"""A running proxy, measured as its clients see it: through HTTP, with edits in its memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from memedit.errors import InvalidInputError, UpstreamError
from memedit.evaluation.prompts import Form
from memedit.evaluation.protocols import Answer, Cost, Forced, Model
from memedit.evaluation.settings import Mode
from memedit.evaluation.spending import spent
from memedit.evaluation.treatments import Distributions, Edits, Session
from memedit.types import EditRequest

CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"


@dataclass(frozen=True, slots=True)
class Reply:
    """What an HTTP server answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


Send = Callable[[str, str, bytes | None, Mapping[str, str]], Reply]
"""(method, path, body, headers) -> reply; called from several threads."""


class EditStore(Protocol):
    """The proxy's edit API."""

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        """Store edits; return their ids once they are in force."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Retract edits."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """An answer with what the proxy says it did."""

    answer: Answer
    edits: tuple[str, ...]
    """Ids out of `x-memedit-edits`, without versions."""


class ProxyModel:
    """The model behind a proxy, unedited: every request asks to bypass the edits.

    Args:
        send: the way to the proxy.
        url: its address, for messages and reports.
        form: how prompts are put; a server does not say whether it can chat, so that `auto` takes
            it that it can.
        model: the served model's name; `None` takes the first that the server lists.
        at_once: requests in flight.

    """

    scores = False

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

    def is_chat(self, prompt: str) -> bool:
        """Tell whether `prompt` is put as a chat turn."""
        return self._form.is_chat(prompt)

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        """Answer without edits."""
        headers: list[Mapping[str, str]] = [{"x-memedit-bypass": "1"}] * len(prompts)
        return [said.answer for said in self.ask(prompts, headers, max_new_tokens, min_new_tokens)]

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Refuse: the API gives no probabilities of a text that it is handed."""
        raise InvalidInputError("a proxy cannot be teacher-forced; its answers alone are scored")

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


class Proxy:
    """`proxy`: edits in the proxy's own memory, in namespaces that are its own and empty again.

    Args:
        model: the way to the model.
        store: the way to the memory.
        namespace: what the names of its namespaces begin with; nobody else may use it.

    """

    name = "proxy"
    at_once = 64

    def __init__(self, model: ProxyModel, store: EditStore, namespace: str) -> None:
        self.cost = Cost()
        self._model = model
        self._store = store
        self._namespace = namespace
        self._numbers = itertools.count(1)
        self._open: list[str] = []

    @contextmanager
    def edited(self, requests: Sequence[EditRequest]) -> Iterator[Model]:
        """Add edits for the time of the block; inner blocks add to the same namespace."""
        space = self._open[-1] if self._open else f"{self._namespace}/{next(self._numbers)}"
        with self._stored([([requests], space)]):
            self._open.append(space)
            try:
                yield _Edited(self._model, space)
            finally:
                self._open.pop()

    @contextmanager
    def session(self, edits: Edits, mode: Mode) -> Iterator[Session]:
        """Give every case a namespace of its own, or put all into one."""
        number = next(self._numbers)
        if mode is Mode.SINGLE:
            spaces = [f"{self._namespace}/{number}-{place}" for place in range(len(edits))]
            groups = [([one], space) for one, space in zip(edits, spaces, strict=True)]
        elif mode is Mode.BATCH:
            spaces = [f"{self._namespace}/{number}"] * len(edits)
            groups = [(list(edits), spaces[0])]
        else:
            spaces = [f"{self._namespace}/{number}"] * len(edits)
            groups = [([one], spaces[0]) for one in edits]
        with self._stored(groups) as ids:
            whose = [owner for owner, requests in enumerate(edits) for _ in requests]
            yield ProxySession(self._model, spaces, dict(zip(ids, whose, strict=True)))

    @contextmanager
    def _stored(self, groups: Sequence[tuple[Edits, str]]) -> Iterator[list[str]]:
        """Add groups of edits, each in one call; yields the ids in their order."""
        ids: list[str] = []
        try:
            for several, space in groups:
                requests = [request for one in several for request in one]
                with spent(self.cost, len(requests)):
                    ids += self._store.add(requests, space)
            yield ids
        finally:
            self._store.remove(ids)
            self.cost.peak_bytes = 0  # of this process it would be, and not of the proxy's


@dataclass
class ProxySession:
    """Requests to the proxy, each in the namespace of its case."""

    model: ProxyModel
    namespaces: Sequence[str]
    owner_of: Mapping[str, int]

    scores = False

    def __post_init__(self) -> None:
        self._edits: dict[tuple[str, int], tuple[str, ...]] = {}

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Ask, and note which edits the proxy says it applied."""
        headers = [{"x-memedit-namespace": self.namespaces[owner]} for owner in owners]
        said = self.model.ask(prompts, headers, max_new_tokens, min_new_tokens)
        for prompt, owner, one in zip(prompts, owners, said, strict=True):
            self._edits[prompt, owner] = one.edits
        return [one.answer for one in said]

    def fired(self, prompts: Sequence[str], owners: Sequence[int]) -> list[frozenset[int] | None]:
        """Say whose edits the proxy applied, as its headers told; of prompts that were asked."""
        return [
            frozenset(
                self.owner_of[one] for one in self._edits[prompt, owner] if one in self.owner_of
            )
            for prompt, owner in zip(prompts, owners, strict=True)
        ]

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Refuse, as the model does."""
        return self.model.score(prompts, targets)

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Refuse, as the model does."""
        raise InvalidInputError("a proxy gives no distributions; its answers alone are scored")


class _Edited:
    """The model with the edits of one namespace, as a `protocols.Model`."""

    scores = False

    def __init__(self, model: ProxyModel, space: str) -> None:
        self.name = model.name
        self.fingerprint = f"{model.fingerprint} {space}"
        self._model = model
        self._session = ProxySession(model, [space], {})

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        """Answer with the edits."""
        owners = [0] * len(prompts)
        return self._session.generate(
            prompts, owners, max_new_tokens, min_new_tokens=min_new_tokens
        )

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Refuse, as the model does."""
        return self._model.score(prompts, targets)
