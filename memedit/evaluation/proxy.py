"""A running proxy, measured as its clients see it: through HTTP, with edits in its memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from memedit.errors import InvalidInputError
from memedit.evaluation.protocols import Answer, Cost, Forced, Model
from memedit.evaluation.proxy_model import ProxyModel, Reply
from memedit.evaluation.settings import Mode
from memedit.evaluation.spending import spent
from memedit.evaluation.treatments import Distributions, Edits, Session
from memedit.types import EditRequest

__all__ = ["EditStore", "Proxy", "ProxyModel", "ProxySession", "Reply"]


class EditStore(Protocol):
    """The proxy's edit API."""

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        """Store edits; return their ids once they are in force."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Retract edits."""
        ...


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
            self.cost.added_bytes = None  # of this process it would be, and not of the proxy's


@dataclass
class ProxySession:
    """Requests to the proxy, each in the namespace of its case."""

    model: ProxyModel
    namespaces: Sequence[str]
    owner_of: Mapping[str, int]

    def __post_init__(self) -> None:
        self.scores = self.model.scores
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
        said = self.model.ask(prompts, self._headers(owners), max_new_tokens, min_new_tokens)
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
        """Score targets after the prompts as the proxy has altered them."""
        return self.model.score_with(prompts, self._headers(owners), targets)

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Refuse: an API names a few tokens and never the whole vocabulary."""
        raise InvalidInputError("a proxy gives no distributions over the whole vocabulary")

    def _headers(self, owners: Sequence[int]) -> list[Mapping[str, str]]:
        return [{"x-memedit-namespace": self.namespaces[owner]} for owner in owners]


class _Edited:
    """The model with the edits of one namespace, as a `protocols.Model`."""

    def __init__(self, model: ProxyModel, space: str) -> None:
        self.name = model.name
        self.scores = model.scores
        self.fingerprint = f"{model.fingerprint} {space}"
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
        """Score with the edits."""
        return self._session.score(prompts, [0] * len(prompts), targets)
