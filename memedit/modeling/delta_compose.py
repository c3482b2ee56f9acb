"""Several deltas as one: the sum of their changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from memedit.errors import InvalidInputError
from memedit.modeling.delta import Change, LowRank, WeightDelta


def compose(deltas: Sequence[WeightDelta], *, any_base: bool = False) -> WeightDelta:
    """Add deltas up, in their order; the deltas are left as they are.

    Changes of low rank stay so: their factors are laid side by side, and the ranks add up.  With a
    dense one among them the sum is dense, float32.  Applying the sum rounds a weight once, applying
    one after another rounds it each time: in bfloat16 the two can differ in the last bit.

    Args:
        deltas: at least one.  Two may hold the same edit; it is then in the sum twice.
        any_base: take deltas of different models, such as those computed one after another, each
            on the model with the earlier ones in it.  The sum is then one for the first's model.

    Raises:
        InvalidInputError: no deltas, different base models, or shapes that differ.

    """
    if not deltas:
        raise InvalidInputError("expected at least one delta to compose, got none")
    bases = list(dict.fromkeys(delta.base for delta in deltas))
    if len(bases) > 1 and not any_base:
        named = ", ".join(base[:12] or "one not recorded" for base in bases)
        raise InvalidInputError(
            f"the deltas were computed for different models ({named}); compose deltas of one "
            "model, or allow any base (any_base=True, --any-base)"
        )
    changes: dict[str, Change] = {}
    keys: dict[str, Tensor] = {}
    for delta in deltas:
        for name, own in delta.keys.items():
            keys[name] = torch.cat((keys[name], own.to(keys[name])), 1) if name in keys else own
        for name, change in delta.changes.items():
            changes[name] = _sum(name, changes[name], change) if name in changes else change
    return WeightDelta(
        changes,
        method="+".join(dict.fromkeys(delta.method for delta in deltas if delta.method)),
        base=bases[0],
        notes={"composed": [_record(delta) for delta in deltas]},
        edits=tuple(dict.fromkeys(edit for delta in deltas for edit in delta.edits)),
        keys=keys,
    )


def _sum(name: str, first: Change, second: Change) -> Change:
    if first.shape != second.shape:
        raise InvalidInputError(
            f"the changes of {name} have shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "the deltas were computed for different models"
        )
    if isinstance(first, LowRank) and isinstance(second, LowRank):
        left, right = (part.to(first.left.device) for part in (second.left, second.right))
        return LowRank(torch.cat((first.left, left), 1), torch.cat((first.right, right), 0))
    wide = [part.dense() if isinstance(part, LowRank) else part.float() for part in (first, second)]
    return wide[0] + wide[1].to(wide[0].device)


def _record(delta: WeightDelta) -> dict[str, Any]:
    """Return what is known of a part of the sum, as plain values."""
    return {
        "method": delta.method,
        "base": delta.base,
        "edits": [asdict(edit) for edit in delta.edits],
        "notes": dict(delta.notes),
    }
