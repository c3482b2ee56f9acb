"""ΔW as a value: computed apart from the model, applied and taken back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memedit.errors import ConflictError, InvalidInputError
from memedit.modeling.fingerprint import model_fingerprint, tensor_digest
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


@dataclass(frozen=True, slots=True)
class EditVersion:
    """The version of a stored edit that a delta makes true."""

    id: str
    version: int
    """From 1."""

    def __post_init__(self) -> None:
        if not (isinstance(self.id, str) and self.id):
            raise InvalidInputError(f"an edit's id is {self.id!r}; expected a text")
        if type(self.version) is not int or self.version < 1:
            raise InvalidInputError(
                f"the version of edit {self.id} is {self.version!r}; expected a number from 1"
            )

    def __str__(self) -> str:
        return f"{self.id}@{self.version}"


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
    edits: tuple[EditVersion, ...] = ()
    """The stored edits that it makes true; empty: computed of requests that no memory holds."""
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

    def check_base(self, model: nn.Module | str, *, any_base: bool = False) -> str:
        """Check that it was computed for this very model.

        Args:
            model: the unedited model, or its ``model_fingerprint``.
            any_base: do not refuse another model.

        Returns:
            What is wrong, in a sentence; empty where nothing is.

        Raises:
            InvalidInputError: it was computed for another model, or does not say for which.

        """
        own = model if isinstance(model, str) else model_fingerprint(model)
        if self.base == own:
            return ""
        wrong = (
            f"the delta was computed for the model with fingerprint {self.base[:12]}, this one "
            f"has {own[:12]}"
            if self.base
            else "the delta does not say for which model it was computed"
        )
        if any_base:
            return wrong
        raise InvalidInputError(
            f"{wrong}; on another model it does not do what was measured. Use that model, or allow "
            "any base (any_base=True, --any-base)"
        )

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
                    parameter.copy_(self.added(name, applied.originals[name]))
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

    def added(self, name: str, weight: Tensor) -> Tensor:
        """Return ``weight`` plus the change of ``name``, as a new tensor of the same dtype.

        The sum is taken in float32 (float64 for a float64 weight) and rounded once.

        Raises:
            InvalidInputError: the shapes differ, or the sum does not fit the weight's dtype.

        """
        change = self.changes[name]
        self.check_shape(name, weight)
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        dense = change.dense() if isinstance(change, LowRank) else change
        total = (weight.to(wide) + dense.to(weight.device, wide)).to(weight.dtype)
        if not bool(torch.isfinite(total).all()):
            raise InvalidInputError(
                f"{name} with its change added does not fit {weight.dtype}; it was left as it was"
            )
        return total

    def inspect(self, model: nn.Module | Mapping[str, Tensor] | None = None) -> list[Inspection]:
        """Say how large and how spread the change of each parameter is.

        Args:
            model: the unedited model, or its weights by name, for norms relative to them; without
                it these are ``None``.

        """
        weights: Mapping[str, Tensor] = {}
        if model is not None:
            weights = self._parameters(model) if isinstance(model, nn.Module) else model
        found = []
        for name, change in self.changes.items():
            factors = (change.left, change.right) if isinstance(change, LowRank) else None
            found.append(inspect_change(name, self.dense(name), factors, weights.get(name)))
        return found

    def save(self, folder: Path) -> Path:
        """Write it into a new folder: safetensors and a manifest; see ``delta_files``."""
        from memedit.modeling.delta_files import save_delta

        return save_delta(self, folder)

    @classmethod
    def load(cls, folder: Path) -> WeightDelta:
        """Read what ``save`` wrote, checked in every part; see ``delta_files``."""
        from memedit.modeling.delta_files import load_delta

        return load_delta(folder)

    def _parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that are changed; raises InvalidInputError where one misfits."""
        there = dict(model.named_parameters(remove_duplicate=False))
        found: dict[str, nn.Parameter] = {}
        for name in self.changes:
            if name not in there:
                raise InvalidInputError(
                    f"the model has no parameter {name!r}; the delta was computed for another "
                    "architecture"
                )
            self.check_shape(name, there[name])
            found[name] = there[name]
        if len({id(parameter) for parameter in found.values()}) < len(found):
            raise InvalidInputError(
                "two of the delta's parameters are one and the same tensor in this model (tied "
                "weights); a change of one would be a change of the other"
            )
        return found

    def check_shape(self, name: str, weight: Tensor) -> None:
        """Raise InvalidInputError where ``weight`` has not the shape of the change of ``name``."""
        if weight.shape != self.changes[name].shape:
            raise InvalidInputError(
                f"{name} has shape {tuple(weight.shape)}, the change of it "
                f"{tuple(self.changes[name].shape)}; the delta was computed for another model"
            )


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
