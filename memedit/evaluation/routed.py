"""Adapters behind a router: at work for the prompts that concern an edit, and for no others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from memedit.errors import InvalidInputError
from memedit.evaluation.adapted import Adapted, Adapter, Attachment
from memedit.evaluation.prompting import Injector
from memedit.evaluation.protocols import Answer, Forced, Model
from memedit.evaluation.settings import Mode
from memedit.evaluation.treatments import Distributions, Edits, Plain, Session
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest

T = TypeVar("T")


class ChosenAdapter(Adapter, Protocol):
    """An adapter that can be told which of its edits a prompt concerns."""

    by_edit: ClassVar[bool]
    """Whether it then takes that edit's part, and of no other."""

    @property
    def edits(self) -> Sequence[EditVersion]:
        """What it holds."""
        ...

    def attached_for(self, model: Any, edit_id: str) -> AbstractContextManager[Attachment]:
        """Put it to work for prompts that concern one of its edits."""
        ...


class Routed(Adapted):
    """An adapter method with memory, scope classifier and router in front of it.

    A prompt that concerns an edit is asked with the adapter at work, for that edit where the
    method can be told which; any other prompt is asked of the model as it is. What an adapter has
    of its own to tell prompts apart, a radius, is then not asked.

    Args:
        name: what rows call it.
        adapter: an empty one, which is not changed.
        model: a `LocalModel`, to which adapters are attached.
        injector: memory and router; what it would write into prompts is left out.

    """

    _held: ChosenAdapter

    def __init__(self, name: str, adapter: ChosenAdapter, model: Any, injector: Injector) -> None:
        super().__init__(name, adapter, model)
        self._injector = injector
        self._spaces = itertools.count(1)
        self._space = ""
        self._stored: dict[str, EditRequest] = {}

    @contextmanager
    def edited(self, requests: Sequence[EditRequest]) -> Iterator[Model]:
        """Refuse: prompts are told apart in sessions alone."""
        raise InvalidInputError(f"{self.name} is measured in sessions; open one")
        yield self._model

    @contextmanager
    def session(self, edits: Edits, mode: Mode) -> Iterator[Session]:
        """Learn the edits, and store them for the router under the same ids."""
        self._space, self._stored = f"routed-{next(self._spaces)}", {}
        owners = {id(one): owner for owner, requests in enumerate(edits) for one in requests}
        try:
            with super().session(edits, mode) as learned:
                refused = learned.refused if isinstance(learned, Plain) else {}
                owner_of = {name: owners[id(one)] for name, one in self._stored.items()}
                yield RoutedSession(self._model, refused=refused, of=self, owner_of=owner_of)
        finally:
            self._injector.remove(list(self._stored))

    def chosen(self, prompts: Sequence[str]) -> list[str | None]:
        """Return for each prompt the edit that it concerns most probably; `None`: none at all."""
        held = {edit.id for edit in self._held.edits}
        chat = [bool(self._model.is_chat(prompt)) for prompt in prompts]
        found = self._injector.inject(prompts, chat, [self._space] * len(prompts))
        return [next((one for one in put.edits if one in held), None) for put in found]

    @contextmanager
    def at_work(self, edit_id: str) -> Iterator[None]:
        """Have the adapter at work for prompts that concern an edit."""
        with (
            self._held.attached_for(self._model.model, edit_id) as attachment,
            self._model.telling(attachment.prompts_end),
        ):
            yield

    @property
    def by_edit(self) -> bool:
        """Whether it makes a difference to the adapter which edit a prompt concerns."""
        return self._held.by_edit

    def _ids(self, requests: Sequence[EditRequest]) -> list[str]:
        ids = self._injector.add(requests, self._space)
        self._stored |= dict(zip(ids, requests, strict=True))
        return ids

    def _attach(self) -> None:
        """Leave the model as it is: the adapter is at work for single prompts."""


@dataclass(frozen=True)
class RoutedSession(Plain):
    """Prompts of which each is asked with the adapter at work for its edit, or without."""

    of: Routed = field(kw_only=True)
    owner_of: dict[str, int] = field(kw_only=True)
    """Whose each edit is."""
    _known: dict[str, str | None] = field(default_factory=dict)

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Answer."""

        def asked(places: list[int]) -> list[Answer]:
            texts, least = [prompts[place] for place in places], min_new_tokens
            said: list[Answer] = self.model.generate(texts, max_new_tokens, min_new_tokens=least)
            return said

        return self._apart(prompts, asked)

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Score."""

        def asked(places: list[int]) -> list[Forced]:
            texts, fed = [prompts[place] for place in places], [targets[place] for place in places]
            found: list[Forced] = self.model.score(texts, fed)
            return found

        return self._apart(prompts, asked)

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Return whole distributions."""

        def asked(places: list[int]) -> Distributions:
            texts, fed = [prompts[place] for place in places], [targets[place] for place in places]
            found: Distributions = self.model.log_probabilities(texts, fed)
            return found

        return self._apart(prompts, asked)

    def fired(self, prompts: Sequence[str], owners: Sequence[int]) -> list[frozenset[int] | None]:
        """Say whose edit each prompt concerns."""
        return [
            frozenset(() if edit is None else {self.owner_of[edit]})
            for edit in self._chosen(prompts)
        ]

    def _apart(self, prompts: Sequence[str], asked: Callable[[list[int]], Sequence[T]]) -> list[T]:
        """Ask the prompts of each edit together, and put the answers into the prompts' order."""
        groups: dict[str | None, list[int]] = {}
        some = ""
        for place, edit in enumerate(self._chosen(prompts)):
            if edit is not None and not self.of.by_edit:
                edit = some = some or edit  # any will do, so that they are asked together
            groups.setdefault(edit, []).append(place)
        found: dict[int, T] = {}
        for edit, places in groups.items():
            with nullcontext() if edit is None else self.of.at_work(edit):
                found |= dict(zip(places, asked(places), strict=True))
        return [found[place] for place in range(len(prompts))]

    def _chosen(self, prompts: Sequence[str]) -> list[str | None]:
        """Decide about each prompt once."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if new:
            self._known.update(zip(new, self.of.chosen(new), strict=True))
        return [self._known[prompt] for prompt in prompts]
