"""What is for one model: which one it is, and that it is put on no other."""

from __future__ import annotations

import copy
import weakref
from typing import Self

from torch import nn

from memedit.errors import InvalidInputError
from memedit.modeling.fingerprint import model_fingerprint


class Bound:
    """Something that was learned for one model, which it knows by a fingerprint and does not hold.

    A model is hashed once (about a second per gigabyte) and then known by its identity, so a model
    whose weights are changed in between is not noticed.
    """

    base: str = ""
    """``model_fingerprint`` of the model it is for; empty until something was learned."""
    _known: weakref.ref[nn.Module] | None = None

    @property
    def name(self) -> str:
        """The registry's name of the method."""
        return str(getattr(type(self), "registered_name", type(self).__name__))

    def bound(self, model: nn.Module) -> Self:
        """Return a copy that is for this model, which is hashed now and not when it first learns.

        Raises:
            InvalidInputError: it is for another model already.

        """
        fresh = copy.copy(self)
        if fresh.base:
            fresh.check_base(model)
        else:
            fresh.base, fresh._known = model_fingerprint(model), weakref.ref(model)
        return fresh

    def check_base(self, model: nn.Module, *, any_base: bool = False) -> None:
        """Check that the model is the one this was learned for.

        Raises:
            InvalidInputError: it is another one.

        """
        if any_base or (self._known is not None and self._known() is model):
            return
        found = model_fingerprint(model)
        if found != self.base:
            raise InvalidInputError(
                f"the {self.name} adapter was learned for the model with fingerprint "
                f"{self.base[:12]}, this one has {found[:12]}; on another model it does not do "
                "what was measured. Use that model, or allow any base (any_base=True)"
            )
        self._known = weakref.ref(model)
