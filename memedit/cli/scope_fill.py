"""Memories of given sizes for ``memedit eval scope``: cases' edits, other files' and invented."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import typer

from memedit.errors import InvalidInputError

if TYPE_CHECKING:
    from memedit.evaluation.cases import EditCase
    from memedit.memory import EditMemory
    from memedit.scope.base import Encoder
    from memedit.types import Edit, EditRequest

_AT_ONCE = 1_000
_TOLD = 10 * _AT_ONCE


@dataclass(slots=True)
class Filled:
    """A memory whose edits are known by their places: those of the cases first."""

    memory: EditMemory
    asked: tuple[int, ...]
    """The positions of the cases whose prompts are asked of it."""
    new: list[Edit] = field(default_factory=list)
    """What was added last."""
    places: dict[str, int] = field(default_factory=dict)
    """The position of each edit, by its id."""

    def add(self, edits: Sequence[EditRequest], places: Sequence[int]) -> None:
        """Store edits under the positions that are given."""
        from rich.console import Console
        from rich.progress import Progress

        self.new = []
        console = Console(stderr=True)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("edits", total=len(edits))
            for first in range(0, len(edits), _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                added = self.memory.add(edits[part])
                for edit, place in zip(added, places[part], strict=True):
                    self.places[edit.id] = place
                self.new += added
                progress.advance(task, len(added))
                if not console.is_terminal and len(self.new) % _TOLD == 0:
                    # no bar is drawn in a log, where hours of silence look like a fault
                    typer.echo(f"{len(self.new):,} of {len(edits):,} edits stored", err=True)


class Memories:
    """Memories of so many edits, between them asked of all cases; a context manager.

    Args:
        cases: whose edits are stored.
        more: what memories are filled up with; see ``shortfall``.
        encoder: of the memories.
        index: registry name of their vector index.

    """

    def __init__(
        self,
        cases: Sequence[EditCase],
        more: Sequence[EditRequest],
        encoder: Encoder,
        index: str,
    ) -> None:
        self._cases = cases
        self._edits = [*edits_of(cases), *more]
        self._own = len(self._edits) - len(more)
        self._encoder = encoder
        self._index = index
        self._stack = ExitStack()
        self._whole: Filled | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def of(self, size: int) -> Iterator[Filled]:
        """Yield the memories of ``size`` edits; every case is to be asked of one of them.

        Where the cases have no more edits than that, one memory holds them all, and further ones
        behind; it is the same for all such sizes, which are to be asked for in ascending order,
        and grows.  Else the cases are split, in their order, into parts of so many edits, and each
        part has a memory of its own, which is closed when the next one is asked for.
        """
        if size >= self._own:
            if self._whole is None:
                memory = self._stack.enter_context(self._opened())
                self._whole = Filled(memory, tuple(range(len(self._cases))))
            begun = len(self._whole.places)
            self._whole.add(self._edits[begun:size], range(begun, size))
            yield self._whole
            return
        behind = range(self._own, len(self._edits))
        for asked, places in parts_of(self._cases, size):
            all_places = [*places, *behind[: max(0, size - len(places))]]
            with self._opened() as memory:
                part = Filled(memory, asked)
                part.add([self._edits[place] for place in all_places], all_places)
                yield part

    def _opened(self) -> EditMemory:
        from memedit.memory import EditMemory

        return EditMemory.open("sqlite://", self._encoder, index=self._index)


def edits_of(cases: Sequence[EditCase]) -> list[EditRequest]:
    """Return the edits of cases, in order."""
    return [request for case in cases for request in case.requests]


def shortfall(n: int, sizes: Sequence[int]) -> int:
    """Return how many further edits memories of these sizes need at most, beside cases' ``n``."""
    return max((size - n if size >= n else size for size in sizes), default=0)


def parts_of(cases: Sequence[EditCase], size: int) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Split cases into parts of at most ``size`` edits, or of one case that has more.

    Yields:
        The positions of a part's cases, and those of its edits among all of them.

    """
    asked: list[int] = []
    places: list[int] = []
    first = 0
    for number, case in enumerate(cases):
        n = len(case.requests)
        if asked and len(places) + n > size:
            yield tuple(asked), places
            asked, places = [], []
        asked.append(number)
        places.extend(range(first, first + n))
        first += n
    if asked:
        yield tuple(asked), places


def further_edits(
    edits: Sequence[EditRequest], others: Sequence[EditRequest], n: int, seed: int
) -> list[EditRequest]:
    """Return ``n`` edits about subjects that none of ``edits`` has: real ones, then invented.

    Raises:
        InvalidInputError: there are too few real ones, and none that others can be made like.

    """
    known = {edit.subject.casefold() for edit in edits}
    real = [other for other in others if other.subject.casefold() not in known][:n]
    made = [*real, *invented_edits([*edits, *real], n - len(real), seed)]
    if len(made) < n:
        raise InvalidInputError(
            f"got {len(made)} of {n} edits to fill the memory with: no prompt names its subject, "
            "so that none can be invented like it; give more with --fill-from, or a smaller --fill"
        )
    return made


def invented_edits(edits: Sequence[EditRequest], n: int, seed: int) -> list[EditRequest]:
    """Make ``n`` edits of the same form about subjects, and with answers, that no edit has.

    Both are put together from the words of real ones, so that they share words with them.  Real
    answers would make other edits right, too, where one is asked from its other end.
    """
    rng = random.Random(seed)
    usable = [edit for edit in edits if edit.subject in edit.prompt]
    subjects = _Names((edit.subject for edit in usable), (edit.subject for edit in edits), rng)
    answers = _Names((edit.target_new for edit in usable), (edit.target_new for edit in edits), rng)
    made: list[EditRequest] = []
    while usable and subjects.parts and len(made) < n:
        model = rng.choice(usable)
        name = subjects.another()
        made.append(
            model.model_copy(
                update={
                    "subject": name,
                    "prompt": model.prompt.replace(model.subject, name),
                    "target_new": answers.another() if answers.parts else model.target_new,
                    "statement": None,
                    "rephrases": (),
                    "aliases": (),
                }
            )
        )
    return made


class _Names:
    """Invents names of two or three words of ``given`` ones, none of them among ``known``."""

    def __init__(self, given: Iterable[str], known: Iterable[str], rng: random.Random) -> None:
        self.parts = sorted({word for name in given for word in name.split() if len(word) > 2})
        self._known = {name.casefold() for name in known}
        self._rng = rng

    def another(self) -> str:
        """Return a name that was neither known nor returned before, or hardly."""
        count = self._rng.choice((2, 2, 3))
        name = " ".join(self._rng.choice(self.parts) for _ in range(count))
        if name.casefold() in self._known:
            name = f"{name} {self._rng.randrange(1000)}"
        self._known.add(name.casefold())
        return name
