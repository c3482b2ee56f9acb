"""Looking into a module, and changing what it takes in or gives out, for as long as a block lasts.

Every hook is a context manager that takes itself off again, also when something fails inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from memedit.errors import InvalidInputError

Side = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Places:
    """Chosen (row, position) pairs of a batch."""

    rows: Tensor
    """int64 [n]"""
    positions: Tensor
    """int64 [n]: index into the padded sequence."""
    batch: int
    """Rows of the whole batch: some modules (OPT's MLP) see it flattened to [B * S, d]."""

    @classmethod
    def one_per_row(cls, positions: Sequence[int] | Tensor) -> Places:
        """Return one position in each row, in order."""
        chosen = torch.as_tensor(positions, dtype=torch.long)
        return cls(torch.arange(len(chosen)), chosen, len(chosen))

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]], batch: int) -> Places:
        """Return the (row, position) pairs given."""
        table = torch.tensor(list(pairs), dtype=torch.long).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1], batch)

    def take(self, states: Tensor) -> Tensor:
        """Return the states at these places: [n, d]."""
        whole = states.reshape(self.batch, -1, states.shape[-1])
        return whole[self.rows.to(states.device), self.positions.to(states.device)]

    def put(self, states: Tensor, values: Tensor, *, add: bool) -> Tensor:
        """Return a copy of the states with ``values`` [n, d] (or [d]) put or added there."""
        whole = states.reshape(self.batch, -1, states.shape[-1]).clone()
        index = (self.rows.to(states.device), self.positions.to(states.device))
        given = values.to(device=states.device, dtype=states.dtype).expand(
            len(self.rows), states.shape[-1]
        )
        return whole.index_put(index, given, accumulate=add).reshape(states.shape)


@dataclass(slots=True)
class Caught:
    """What a module took in or gave out, once per run of the model."""

    states: list[Tensor] = field(default_factory=list)

    @property
    def last(self) -> Tensor:
        """That of the last run: [n, d] at the places asked for, else whole.

        Raises:
            InvalidInputError: the module has not run.

        """
        if not self.states:
            raise InvalidInputError("nothing was caught: the module did not run inside the block")
        return self.states[-1]


@contextmanager
def catch(
    module: nn.Module, side: Side, places: Places | None = None, *, keep_graph: bool = False
) -> Iterator[Caught]:
    """Keep what the module takes in or gives out.

    Args:
        module: any module; of several inputs or outputs the first tensor counts.
        side: its ``input`` or its ``output``.
        places: keep only these (a copy); left out, everything.
        keep_graph: leave the states in the graph that gradients flow through.

    """
    caught = Caught()

    def keep(states: Tensor) -> Tensor:
        chosen = states if places is None else places.take(states)
        caught.states.append(chosen if keep_graph else chosen.detach().clone())
        return states

    with _changed(module, side, keep):
        yield caught


@contextmanager
def replace(module: nn.Module, side: Side, places: Places, values: Tensor) -> Iterator[None]:
    """Put ``values`` [n, d] in the place of what the module takes in or gives out."""
    with _changed(module, side, lambda states: places.put(states, values, add=False)):
        yield


@contextmanager
def add(module: nn.Module, side: Side, places: Places, values: Tensor) -> Iterator[None]:
    """Add ``values`` [n, d] to what the module takes in or gives out; gradients flow to them."""
    with _changed(module, side, lambda states: places.put(states, values, add=True)):
        yield


@contextmanager
def _changed(module: nn.Module, side: Side, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    if side == "output":

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return change(output)
            if isinstance(output, tuple) and isinstance(output[0], Tensor):
                return (change(output[0]), *output[1:])
            raise _unreadable(module, "output", output)

        handle = module.register_forward_hook(after)
    elif side == "input":

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args and isinstance(args[0], Tensor):
                return (change(args[0]), *args[1:]), kwargs
            if isinstance(kwargs.get("hidden_states"), Tensor):
                return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}
            raise _unreadable(module, "input", args or kwargs)

        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        raise InvalidInputError(f"side is 'input' or 'output', got {side!r}")
    try:
        yield
    finally:
        handle.remove()


def _unreadable(module: nn.Module, side: str, got: Any) -> InvalidInputError:
    return InvalidInputError(
        f"the {side} of {type(module).__name__} begins with no tensor (got {type(got).__name__}); "
        "hooks work on modules that pass hidden states on"
    )
