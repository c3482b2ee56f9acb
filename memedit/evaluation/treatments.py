"""What is done to a model before it is asked: nothing, or edits in its weights.

Beside `protocols.Treatment` a treatment opens *sessions*, in which the edits of several cases are
in force as a setting says, and in which each prompt is asked for one case: methods that write
into prompts keep many cases apart at the same time, so that all of them are asked in full batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError, MemeditError
from memedit.evaluation.protocols import Answer, Cost, Forced, Model
from memedit.evaluation.settings import Mode
from memedit.evaluation.spending import spent
from memedit.types import EditRequest

Distributions = list[npt.NDArray[np.float32]]
Edits = Sequence[Sequence[EditRequest]]
"""For each case its edits."""


class Session(Protocol):
    """A model with edits in force; `owners[i]` is the case for which `prompts[i]` is asked."""

    @property
    def scores(self) -> bool:
        """Whether it can be asked for scores."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Answer greedily."""
        ...

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Score targets, where `scores` is true."""
        ...

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Return whole distributions, where `scores` is true."""
        ...

    def fired(self, prompts: Sequence[str], owners: Sequence[int]) -> list[frozenset[int] | None]:
        """Say whose edits were applied to each prompt; `None` where a method does not choose."""
        ...


class Sessions(Protocol):
    """A treatment that the runner can use."""

    name: str
    cost: Cost
    at_once: int
    """Cases whose edits can be kept apart at the same time."""

    def session(self, edits: Edits, mode: Mode) -> AbstractContextManager[Session]:
        """Put edits in force as `mode` says; as before once it is left."""
        ...


@dataclass(frozen=True)
class Plain:
    """A session of a model that answers every case alike."""

    model: Any
    """A `protocols.Model`."""
    whole: Any = None
    """What is asked for whole distributions, where that is another one."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """Of a sequence: cases whose edits a method refused, so that they are not in it, and why."""

    @property
    def scores(self) -> bool:
        """Whether the model can be asked for scores."""
        return bool(self.model.scores)

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Answer; whom it is for makes no difference."""
        said: list[Answer] = self.model.generate(
            prompts, max_new_tokens, min_new_tokens=min_new_tokens
        )
        return said

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Score."""
        found: list[Forced] = self.model.score(prompts, targets)
        return found

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Return whole distributions."""
        model = self.model if self.whole is None else self.whole
        found: Distributions = model.log_probabilities(prompts, targets)
        return found

    def fired(self, prompts: Sequence[str], owners: Sequence[int]) -> list[frozenset[int] | None]:
        """Return nothing to say."""
        return [None] * len(prompts)


@dataclass(frozen=True)
class Among:
    """A session with the edits of more cases than are asked about."""

    session: Session
    places: Sequence[int]
    """For each case that is asked about its place in the session."""

    @property
    def scores(self) -> bool:
        """As the session says."""
        return self.session.scores

    def generate(
        self,
        prompts: Sequence[str],
        owners: Sequence[int],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
    ) -> list[Answer]:
        """Answer."""
        there = self._there(owners)
        return self.session.generate(prompts, there, max_new_tokens, min_new_tokens=min_new_tokens)

    def score(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> list[Forced]:
        """Score."""
        return self.session.score(prompts, self._there(owners), targets)

    def log_probabilities(
        self, prompts: Sequence[str], owners: Sequence[int], targets: Sequence[str]
    ) -> Distributions:
        """Return whole distributions."""
        return self.session.log_probabilities(prompts, self._there(owners), targets)

    def fired(self, prompts: Sequence[str], owners: Sequence[int]) -> list[frozenset[int] | None]:
        """Say whose edits were applied; -1 for those of a case that is not asked about."""
        here = {place: owner for owner, place in enumerate(self.places)}
        return [
            None if whose is None else frozenset(here.get(place, -1) for place in whose)
            for whose in self.session.fired(prompts, self._there(owners))
        ]

    def _there(self, owners: Sequence[int]) -> list[int]:
        return [self.places[owner] for owner in owners]


class Unedited:
    """`none`: the model as it is; its answers are those that were kept already.

    Args:
        base: the unedited model behind its kept answers.
        model: the model itself, for what is not kept.

    """

    name = "none"
    at_once = 100

    def __init__(self, base: Model, model: Any) -> None:
        self.cost = Cost()
        self._base = base
        self._model = model

    @contextmanager
    def edited(self, requests: Sequence[EditRequest]) -> Iterator[Model]:
        """Change nothing."""
        yield self._base

    @contextmanager
    def session(self, edits: Edits, mode: Mode) -> Iterator[Session]:
        """Change nothing."""
        yield Plain(self._base, self._model)


class Editor(Protocol):
    """What a baked method is to evaluation: `memedit.editing` has them."""

    def edit(
        self,
        model: Any,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        *,
        after: Sequence[Any] = (),
    ) -> Any:
        """Return a `memedit.modeling.delta.WeightDelta`; the model is left as it was.

        `after` are the deltas that are in its weights already.
        """
        ...


class Baked:
    """A method that changes weights; whatever happens, they are as before afterwards, bit for bit.

    Args:
        name: the registry's.
        editor: computes the change.
        model: a `LocalModel`, whose weights are changed in place.

    """

    at_once = 1

    def __init__(self, name: str, editor: Editor, model: Any) -> None:
        self.name = name
        self.cost = Cost()
        self._editor = editor
        self._model = model

    @contextmanager
    def edited(self, requests: Sequence[EditRequest]) -> Iterator[Model]:
        """Apply one change made of all `requests` together; blocks nest."""
        delta = self._delta(requests)
        with delta.applied(self._model.model):
            yield self._model

    @contextmanager
    def session(self, edits: Edits, mode: Mode) -> Iterator[Session]:
        """Edit once with everything, or one case after another on what the earlier ones left."""
        if mode is Mode.SEQUENTIAL:
            with self._sequence(edits) as refused:
                yield Plain(self._model, refused=refused)
            return
        if mode is Mode.SINGLE and len(edits) > 1:
            raise InvalidInputError(
                f"weights hold the edits of one case at a time; got {len(edits)} cases"
            )
        with self.edited([request for requests in edits for request in requests]) as model:
            yield Plain(model)

    @contextmanager
    def _sequence(self, edits: Edits) -> Iterator[dict[int, str]]:
        """Apply change after change; of every parameter only the first original is kept.

        A snapshot per edit would be a copy of the layer for each of a thousand edits. What the
        method refuses, for example because earlier edits have left it nothing to find, is passed
        over and yielded with the reason: a sequence shows what becomes of a model that goes on.
        """
        originals: dict[str, tuple[Any, Any]] = {}
        earlier: list[Any] = []
        refused: dict[int, str] = {}
        try:
            for place, requests in enumerate(edits):
                try:
                    delta = self._delta(requests, earlier)
                except MemeditError as error:
                    refused[place] = str(error)
                    continue
                if delta.keys:  # of a delta without keys a later edit has nothing to learn
                    earlier.append(delta)
                applied = delta.apply(self._model.model)
                for name, original in applied.originals.items():
                    originals.setdefault(name, (applied.parameters[name], original))
            yield refused
        finally:
            for parameter, original in originals.values():
                parameter.data.copy_(original)

    def _delta(self, requests: Sequence[EditRequest], after: Sequence[Any] = ()) -> Any:
        model = self._model.model
        with spent(self.cost, len(requests), getattr(model, "device", None)):
            return self._editor.edit(model, self._model.tokenizer, requests, after=after)
