"""In-context methods under evaluation: edits are found for each prompt and written into it.

The parts are those of the product: an edit memory, its encoder, the scope classifier, the router
and the method.  They are put behind `Injector` by whoever wires them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from memedit.evaluation.protocols import Answer, Cost, Forced, Model
from memedit.evaluation.settings import Mode
from memedit.evaluation.spending import spent
from memedit.evaluation.treatments import Distributions, Edits, Session
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class Injected:
    """A prompt as it reaches the model."""

    text: str
    edits: tuple[str, ...] = ()
    """Ids of the edits that were written into it."""
    elsewhere: bool = False
    """Whether a counterfactual model is asked in the model's place."""


class Injector(Protocol):
    """An edit memory with a router: what a proxy does with a prompt."""

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        """Store edits; return their ids."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Take edits back."""
        ...

    def inject(
        self, prompts: Sequence[str], chat: Sequence[bool], namespaces: Sequence[str]
    ) -> list[Injected]:
        """Decide about each prompt in its namespace, and write the edits into it."""
        ...


class InContext:
    """An in-context method.

    Args:
        name: the registry's; with `+always` where the scope is not asked.
        injector: memory, router and method.
        model: a `LocalModel`.

    """

    at_once = 64
    session_class: type[InjectedSession]

    def __init__(self, name: str, injector: Injector, model: Any) -> None:
        self.name = name
        self.cost = Cost()
        self._injector = injector
        self._model = model
        self._numbers = itertools.count(1)
        self._open: list[str] = []

    @contextmanager
    def edited(self, requests: Sequence[EditRequest]) -> Iterator[Model]:
        """Put edits into a memory that inner blocks add to."""
        namespace = self._open[-1] if self._open else f"edited-{next(self._numbers)}"
        with self._stored([(requests, namespace)]) as owner_of:
            self._open.append(namespace)
            try:
                session = self.session_class(self._injector, self._model, [namespace], owner_of)
                yield _OneCase(session, self._model)
            finally:
                self._open.pop()

    @contextmanager
    def session(self, edits: Edits, mode: Mode) -> Iterator[Session]:
        """Give every case a namespace of its own, or put all into one."""
        number = next(self._numbers)
        spaces = [
            f"case-{number}-{place}" if mode is Mode.SINGLE else f"all-{number}"
            for place in range(len(edits))
        ]
        groups: list[tuple[Sequence[EditRequest], str]]
        if mode is Mode.BATCH:  # one transaction, as whoever has them all would add them
            groups = [([one for requests in edits for one in requests], spaces[0])]
        else:
            groups = list(zip(edits, spaces, strict=True))
        with self._stored(groups) as owner_of:
            if mode is Mode.BATCH:
                whose = [owner for owner, requests in enumerate(edits) for _ in requests]
                owner_of = dict(zip(owner_of, whose, strict=True))
            yield self.session_class(self._injector, self._model, spaces, owner_of)

    @contextmanager
    def _stored(
        self, groups: Sequence[tuple[Sequence[EditRequest], str]]
    ) -> Iterator[dict[str, int]]:
        """Store groups of edits, each into its namespace; yields whose each edit is."""
        owner_of: dict[str, int] = {}
        try:
            for owner, (requests, namespace) in enumerate(groups):
                with spent(self.cost, len(requests)):
                    ids = self._injector.add(requests, namespace)
                owner_of |= dict.fromkeys(ids, owner)
            yield owner_of
        finally:
            self._injector.remove(list(owner_of))


class InjectedSession:
    """Prompts with edits written into them, asked of an unedited model."""

    def __init__(
        self,
        injector: Injector,
        model: Any,
        namespaces: Sequence[str],
        owner_of: dict[str, int],
    ) -> None:
        self.scores = bool(model.scores)
        self._injector = injector
        self._model = model
        self._namespaces = namespaces
        self._owner_of = owner_of
        self._done: dict[tuple[str, str], Injected] = {}

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Answer the prompts as they are after injection, in the form of what was asked."""
        said: list[Answer] = self._model.generate(
            self._texts(prompts, owners),
            max_new_tokens,
            min_new_tokens=min_new_tokens,
            chat=self._chat(prompts),
        )
        return said

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Score targets after the prompts as they are after injection."""
        texts, chat = self._texts(prompts, owners), self._chat(prompts)
        found: list[Forced] = self._model.score(texts, targets, chat=chat)
        return found

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Return distributions after the prompts as they are after injection."""
        texts, chat = self._texts(prompts, owners), self._chat(prompts)
        found: Distributions = self._model.log_probabilities(texts, targets, chat=chat)
        return found

    def fired(self, prompts: Sequence[str], owners: Sequence[int]) -> list[frozenset[int] | None]:
        """Say whose edits were written into each prompt."""
        return [
            frozenset(self._owner_of[one] for one in injected.edits if one in self._owner_of)
            for injected in self._injected(prompts, owners)
        ]

    def _chat(self, prompts: Sequence[str]) -> list[bool]:
        return [bool(self._model.is_chat(prompt)) for prompt in prompts]

    def _texts(self, prompts: Sequence[str], owners: Sequence[int]) -> list[str]:
        return [injected.text for injected in self._injected(prompts, owners)]

    def _injected(self, prompts: Sequence[str], owners: Sequence[int]) -> list[Injected]:
        """Decide about all prompts in one batch; about each only once."""
        keys = [
            (prompt, self._namespaces[owner]) for prompt, owner in zip(prompts, owners, strict=True)
        ]
        new = [key for key in dict.fromkeys(keys) if key not in self._done]
        if new:
            asked = [prompt for prompt, _ in new]
            found = self._injector.inject(asked, self._chat(asked), [space for _, space in new])
            self._done |= dict(zip(new, found, strict=True))
        return [self._done[key] for key in keys]


InContext.session_class = InjectedSession


class _OneCase:
    """A session of one case as a `protocols.Model`."""

    def __init__(self, session: InjectedSession, model: Any) -> None:
        self.name = model.name
        self.fingerprint = model.fingerprint
        self.scores = session.scores
        self._session = session

    def generate(
        self, prompts: Sequence[str], max_new_tokens: int, *, min_new_tokens: int = 0
    ) -> list[Answer]:
        """Answer."""
        owners = [0] * len(prompts)
        return self._session.generate(
            prompts, owners, max_new_tokens, min_new_tokens=min_new_tokens
        )

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[Forced]:
        """Score."""
        return self._session.score(prompts, [0] * len(prompts), targets)
