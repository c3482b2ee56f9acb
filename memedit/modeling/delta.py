"""ΔW as a value: computed apart from the model, applied and taken back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from memedit.errors import ConflictError, InvalidInputError
from memedit.modeling.fingerprint import tensor_digest
from memedit.modeling.inspection import Inspection, inspect_change


@dataclass(frozen=True, slots=True)
class LowRank:
    """A change of low rank, ``left @ right``, without its product being stored."""

    left: Tensor
    """float [rows, rank]"""
    right: Tensor
    """float [rank, columns]"""

    def __post_init__(self) -> None:
        left, right = self.left, self.right
        if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
            raise InvalidInputError(
                f"factors of shape {tuple(left.shape)} and {tuple(right.shape)} do not fit; "
                "expected [rows, rank] and [rank, columns]"
            )

    @property
    def shape(self) -> torch.Size:
        """The shape of the parameter that it changes."""
        return torch.Size((self.left.shape[0], self.right.shape[1]))

    def dense(self) -> Tensor:
        """Multiply the factors: float32 [rows, columns]."""
        return self.left.float() @ self.right.float()


Change = Tensor | LowRank


@dataclass(frozen=True)
class WeightDelta:
    """What to add to which parameters.  Holds no model, and making one changes none.

    A change has the layout in which its parameter is stored: (in, out) for GPT-2's ``Conv1D``.
    """

    changes: Mapping[str, Change]
    """Parameter name -> what is added to it."""
    method: str = ""
    """The registry's name of the method that computed it."""
    base: str = ""
    """``model_fingerprint`` of the model it was computed for; empty: not recorded."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the method says of its work: layer, steps, loss before and after."""
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    """Parameter name -> the keys it was made to answer, [in, edits], from methods that know them:
    a later edit can leave them alone."""

    def __post_init__(self) -> None:
        for name, change in self.changes.items():
            parts = (change.left, change.right) if isinstance(change, LowRank) else (change,)
            if not all(bool(torch.isfinite(part).all()) for part in parts):
                raise InvalidInputError(f"the change of {name} holds infinities or no numbers")

    def names(self) -> tuple[str, ...]:
        """Return the names of the parameters that are changed."""
        return tuple(self.changes)

    def dense(self, name: str) -> Tensor:
        """Return the change of one parameter: float32, in the parameter's layout.

        Raises:
            InvalidInputError: it does not change this parameter.

        """
        if name not in self.changes:
            known = ", ".join(self.changes) or "nothing"
            raise InvalidInputError(f"{name!r} is not changed; this delta changes {known}")
        change = self.changes[name]
        return change.dense() if isinstance(change, LowRank) else change.float()

    def apply(self, model: nn.Module) -> Applied:
        """Add it to the model's weights, in place; the sum is taken in float32 and rounded once.

        Raises:
            InvalidInputError: it does not fit the model; nothing was changed.

        """
        parameters = self._parameters(model)
        applied = Applied(parameters, {}, {})
        try:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    applied.originals[name] = parameter.detach().clone()
                    parameter.copy_(self._sum(name, applied.originals[name]))
                    if not bool(torch.isfinite(parameter).all()):
                        raise InvalidInputError(
                            f"{name} with its change added does not fit {parameter.dtype}; "
                            "the model was left as it was"
                        )
                    applied.digests[name] = tensor_digest(parameter)
        except BaseException:
            applied.restore()
            raise
        return applied

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Add it to the model for as long as the block lasts; then every bit is as before.

        Blocks nest: an inner delta is taken back before an outer one.
        """
        applied = self.apply(model)
        try:
            yield
        finally:
            applied.revert()

    def inspect(self, model: nn.Module | None = None) -> list[Inspection]:
        """Say how large and how spread the change of each parameter is.

        Args:
            model: the unedited model, for norms relative to its weights; without it these are
                ``None``.

        """
        parameters = self._parameters(model) if model is not None else {}
        found = []
        for name, change in self.changes.items():
            factors = (change.left, change.right) if isinstance(change, LowRank) else None
            weight = parameters.get(name)
            found.append(inspect_change(name, self.dense(name), factors, weight))
        return found

    def _sum(self, name: str, original: Tensor) -> Tensor:
        wide = torch.float64 if original.dtype == torch.float64 else torch.float32
        change = self.changes[name]
        dense = change.dense() if isinstance(change, LowRank) else change
        return (original.to(wide) + dense.to(original.device, wide)).to(original.dtype)

    def _parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that are changed; raises InvalidInputError where one misfits."""
        there = dict(model.named_parameters(remove_duplicate=False))
        found: dict[str, nn.Parameter] = {}
        for name, change in self.changes.items():
            if name not in there:
                raise InvalidInputError(
                    f"the model has no parameter {name!r}; the delta was computed for another "
                    "architecture"
                )
            if there[name].shape != change.shape:
                raise InvalidInputError(
                    f"{name} has shape {tuple(there[name].shape)}, the change of it "
                    f"{tuple(change.shape)}; the delta was computed for another model"
                )
            found[name] = there[name]
        if len({id(parameter) for parameter in found.values()}) < len(found):
            raise InvalidInputError(
                "two of the delta's parameters are one and the same tensor in this model (tied "
                "weights); a change of one would be a change of the other"
            )
        return found


@dataclass(slots=True)
class Applied:
    """A delta that is in a model's weights, with the tensors that were there before."""

    parameters: Mapping[str, nn.Parameter]
    originals: dict[str, Tensor]
    digests: dict[str, bytes]
    """Of what each parameter was left as."""

    def revert(self) -> None:
        """Put the original tensors back, bit for bit.

        Raises:
            ConflictError: it was taken back already, or the weights were changed since (another
                delta was applied later: take that one back first); nothing was changed.

        """
        if not self.originals:
            raise ConflictError("this delta was taken back already")
        for name, digest in self.digests.items():
            if tensor_digest(self.parameters[name]) != digest:
                raise ConflictError(
                    f"{name} was changed after this delta was applied; take later changes back "
                    "first, in reverse order"
                )
        self.restore()

    def restore(self) -> None:
        """Put the original tensors back, whatever stands there now."""
        with torch.no_grad():
            for name, original in self.originals.items():
                self.parameters[name].copy_(original)
        self.originals.clear()
        self.digests.clear()
