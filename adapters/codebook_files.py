"""A codebook as tensors and plain values: what is saved of GRACE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memedit.adapters.codebook import Codebook, Entry, Member
from memedit.adapters.learned import (
    Saved,
)
from memedit.errors import InvalidInputError


def saved_codebook(book: Codebook | None) -> Saved:
    """Return the tensors and the plain values that ``codebook_of`` makes the same codebook of.

    The tensors ``keys`` [m, k], ``radii`` [m] (slack included, -1 of holes) and ``values`` [m, d],
    float32, are all that a look-up needs.
    """
    if book is None or not any(not entry.is_hole for entry in book.entries):
        return Saved({}, {"radius": None if book is None else book.radius})
    table = book.table()
    tensors: dict[str, Tensor] = {
        "keys": table.keys,
        "radii": table.radii,
        "values": table.values,
    }
    if book.members:
        tensors["member_keys"] = torch.stack([m.key for m in book.members])
        tensors["member_values"] = torch.stack([m.value for m in book.members])
    return Saved(
        tensors,
        {
            "radius": book.radius,
            "entries": [
                {"edit": e.edit, "label": e.label, "radius": e.radius, "hole": e.is_hole}
                for e in book.entries
            ],
            "members": [{"edit": m.edit, "label": m.label} for m in book.members],
        },
    )


def codebook_of(saved: Saved, edits: Sequence[str]) -> Codebook | None:
    """Make the codebook of what ``saved_codebook`` returned.

    Args:
        saved: finite tensors and plain values.
        edits: the ids of the edits that it must hold, no more and no fewer.

    Raises:
        InvalidInputError: tensors are missing or of shapes that do not fit.

    """
    state, tensors = saved.state, saved.tensors
    if state["radius"] is None:
        return None
    book = Codebook(float(state["radius"]))
    entries: list[dict[str, Any]] = list(state.get("entries", ()))
    members: list[dict[str, Any]] = list(state.get("members", ()))
    if entries:
        keys, values = _pair(tensors, "keys", "values", len(entries))
        for said, key, value in zip(entries, keys, values, strict=True):
            radius = float(said["radius"])
            held = None if said["hole"] else value
            book.entries.append(Entry(str(said["edit"]), key, held, radius, str(said["label"])))
        expected = book.table().radii
        if "radii" not in tensors or not torch.equal(tensors["radii"], expected):
            raise InvalidInputError("the radii are not those of the manifest")
    if members:
        keys, values = _pair(tensors, "member_keys", "member_values", len(members))
        if keys.shape[1] != tensors["keys"].shape[1]:
            raise InvalidInputError("the members' keys are of another width than the entries'")
        for said, key, value in zip(members, keys, values, strict=True):
            book.members.append(Member(str(said["edit"]), key, value, str(said["label"])))
    there = [*(e.edit for e in book.entries if not e.is_hole), *(m.edit for m in book.members)]
    if sorted(there) != sorted(edits):
        raise InvalidInputError("the codebook holds other edits than the manifest lists")
    return book


def _pair(tensors: Any, keys_name: str, values_name: str, count: int) -> tuple[Tensor, Tensor]:
    found: list[Tensor] = []
    for name in (keys_name, values_name):
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim != 2 or len(tensor) != count:
            got = "nothing" if tensor is None else str(tuple(tensor.shape))
            raise InvalidInputError(f"{name}: expected {count} rows of numbers, got {got}")
        found.append(tensor.float())
    return found[0], found[1]
