"""Adapters under evaluation: learned beside the weights, and at work while the model is asked."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from memedit.errors import InvalidInputError, MemeditError
from memedit.evaluation.protocols import Cost, Model
from memedit.evaluation.settings import Mode
from memedit.evaluation.spending import spent
from memedit.evaluation.treatments import Edits, Plain, Session
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest


class Attachment(Protocol):
    """An adapter at work."""

    def prompts_end(self, positions: Sequence[int]) -> AbstractContextManager[None]:
        """Say where the prompts of a batch end, counted from 0 in the padded rows."""
        ...


class Adapter(Protocol):
    """What an adapter method is to evaluation: `memedit.adapters` has them.

    Learning replaces what it holds as a whole, so that a copy goes ways of its own.
    """

    def learn(
        self,
        model: Any,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        *,
        edits: Sequence[EditVersion],
    ) -> Any:
        """Learn edits, all together, beside those that are held; the model has no adapter on."""
        ...

    def attached(self, model: Any) -> AbstractContextManager[Attachment]:
        """Put it to work for as long as the block lasts."""
        ...


class Adapted:
    """An adapter method; afterwards the model is as before, bit for bit.

    It is attached for every prompt: what keeps it from prompts that its edits do not concern is
    the method's own doing, and where it has no means to (LoRA), locality shows that.

    Args:
        name: what rows call it.
        adapter: an empty one, which is not changed.
        model: a `LocalModel`, to which adapters are attached.

    """

    at_once = 1

    def __init__(self, name: str, adapter: Adapter, model: Any) -> None:
        self.name = name
        self.cost = Cost()
        self._model = model
        self._held = adapter
        self._work = ExitStack()
        self._numbers = itertools.count(1)

    @contextmanager
    def edited(self, requests: Sequence[EditRequest]) -> Iterator[Model]:
        """Learn all `requests` together; an inner block learns beside what the outer one holds."""
        with self._grown(lambda adapter: self._learn(adapter, requests)):
            yield self._model

    @contextmanager
    def session(self, edits: Edits, mode: Mode) -> Iterator[Session]:
        """Learn everything together, or one case after another; all is scored at the end."""
        if mode is Mode.SINGLE and len(edits) > 1:
            raise InvalidInputError(
                f"an adapter holds the edits of one case at a time here; got {len(edits)} cases"
            )
        refused: dict[int, str] = {}

        def grow(adapter: Adapter) -> Adapter:
            if mode is Mode.SEQUENTIAL:
                return self._sequence(adapter, edits, refused)
            return self._learn(adapter, [request for requests in edits for request in requests])

        with self._grown(grow):
            yield Plain(self._model, refused=refused)

    @contextmanager
    def _grown(self, grow: Callable[[Adapter], Adapter]) -> Iterator[None]:
        """Have an adapter that learned more at work in the place of the one that is."""
        outer = self._held
        self._work.close()  # an adapter learns on the model as it is
        try:
            self._held = grow(outer)
            self._attach()
            yield
        finally:
            self._work.close()
            self._held = outer
            self._attach()

    def _sequence(self, adapter: Adapter, edits: Edits, refused: dict[int, str]) -> Adapter:
        """Return an adapter that learned one case after another, but for those it `refused`."""
        for place, requests in enumerate(edits):
            try:
                adapter = self._learn(adapter, requests)
            except MemeditError as error:
                refused[place] = str(error)
        return adapter

    def _learn(self, adapter: Adapter, requests: Sequence[EditRequest]) -> Adapter:
        """Return an adapter that holds more; the one given is left as it was."""
        model, grown = self._model.model, copy.copy(adapter)
        for part in without_contradictions(requests):
            edits = [EditVersion(one, 1) for one in self._ids(part)]
            with spent(self.cost, len(part), getattr(model, "device", None)):
                grown.learn(model, self._model.tokenizer, part, edits=edits)
        return grown

    def _ids(self, requests: Sequence[EditRequest]) -> list[str]:
        """Name edits that are about to be learned."""
        return [f"edit-{next(self._numbers)}" for _ in requests]

    def _attach(self) -> None:
        with ExitStack() as stack:
            attachment = stack.enter_context(self._held.attached(self._model.model))
            stack.enter_context(self._model.telling(attachment.prompts_end))
            self._work = stack.pop_all()


def without_contradictions(requests: Sequence[EditRequest]) -> list[list[EditRequest]]:
    """Split edits into batches that give one answer to each prompt, to be learned in order.

    A prompt's answers keep their order: the last one is learned last.
    """
    batches: list[list[EditRequest]] = []
    last: dict[str, tuple[str, int]] = {}  # prompt -> its last answer, and in which batch that is
    for request in requests:
        answer, place = last.get(request.prompt, (request.target_new, 0))
        place += answer != request.target_new
        last[request.prompt] = (request.target_new, place)
        if place == len(batches):
            batches.append([])
        batches[place].append(request)
    return batches
