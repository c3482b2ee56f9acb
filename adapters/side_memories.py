"""WISE's side memories: shards of knowledge, merged, and the routing of prompts among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memedit.adapters.key_space import SAME, SLACK
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Matrix

DENSITY = 0.53
"""What merging keeps of each shard, the largest entries; the published code's."""


@dataclass(frozen=True, slots=True)
class Shard:
    """What one edit changes of the value matrix, in a random subspace of its own."""

    edit: str
    seed: int
    """Of its mask."""
    key: Tensor
    """float32 [k]: what the value matrix takes in at the edit's last prompt token."""
    values: Tensor
    """float32 [n]: its entries in the order of the mask's places; all others are 0."""


def mask_of(seed: int, shape: tuple[int, int], ratio: float) -> Tensor:
    """Return the places of a shard: bool [k, d], each drawn with the probability ``ratio``."""
    # NumPy's old generator: of it alone is promised that a seed gives the same draws for ever
    draws = np.random.RandomState(seed).random_sample(shape[0] * shape[1])
    return torch.from_numpy(draws < ratio).reshape(shape)


def dense(shard: Shard, shape: tuple[int, int], ratio: float) -> Tensor:
    """Return a shard as a whole matrix: float32 [k, d].

    Raises:
        InvalidInputError: it has more or fewer values than its mask places.

    """
    places = mask_of(shard.seed, shape, ratio)
    if int(places.sum()) != len(shard.values):
        raise InvalidInputError(
            f"the shard of {shard.edit} has {len(shard.values)} values, its mask of {shape} has "
            f"{int(places.sum())} places; it was learned for another model"
        )
    return torch.zeros(shape).masked_scatter(places, shard.values)


def ties(changes: Sequence[Tensor]) -> Tensor:
    """Merge changes [k, d] of a matrix: trim, elect signs, take the mean of those that agree.

    Source: Yadav et al. 2023, "TIES-Merging", algorithm 1, as WISE uses it (eq. 8).
    """
    stacked = torch.stack([_trimmed(change) for change in changes])
    elected = stacked.sum(0).sign()
    agree = (stacked.sign() == elected) & (stacked != 0)
    return (stacked * agree).sum(0) / agree.sum(0).clamp(min=1)


def _trimmed(change: Tensor) -> Tensor:
    keep = int(DENSITY * change.numel())
    if int((change != 0).sum()) <= keep:
        return change
    least = change.abs().flatten().kthvalue(change.numel() - keep + 1).values
    return torch.where(change.abs() >= least, change, 0)


@dataclass(frozen=True, slots=True)
class SideMemories:
    """Merged changes of the value matrix, and from where on each one is taken."""

    changes: Tensor
    """float32 [M, k, d]"""
    thresholds: Tensor
    """float32 [M]: of a prompt's activation; the paper's epsilon."""
    holes: Tensor
    """float32 [H, k]: keys of prompts that go through the main memory whatever is near."""

    @classmethod
    def of(
        cls,
        groups: Sequence[Sequence[Shard]],
        holes: Sequence[Tensor],
        shape: tuple[int, int],
        ratio: float,
        share: float,
    ) -> SideMemories:
        """Merge groups of shards, each into a memory.

        Args:
            groups: shards of each memory, at least one.
            holes: keys [k] of prompts that are to have their base answers.
            shape: (k, d) of the value matrix.
            ratio: of the masks.
            share: of the least activation among a memory's own edits, for its threshold.

        """
        merged = [ties([dense(one, shape, ratio) for one in group]) for group in groups]
        least = [
            (torch.stack([one.key for one in group]) @ change).norm(dim=1).min()
            for group, change in zip(groups, merged, strict=True)
        ]
        edges = torch.stack(least) * share * (1 - SLACK)
        kept = torch.stack(list(holes)) if holes else torch.zeros(0, shape[0])
        return cls(torch.stack(merged), edges.clamp(min=1e-12), kept)

    def to(self, device: torch.device) -> SideMemories:
        """Return them on a device."""
        return SideMemories(*(getattr(self, name).to(device) for name in self.__slots__))

    def chosen(self, keys: Tensor) -> Tensor:
        """Return for each prompt's key [B, k] its memory, or -1 for the main one: int64 [B].

        Of several memories whose activation is over their threshold, the one counts that is
        furthest over it.

        Source: Wang et al. 2024, eq. 3 and 4, and WISE-Retrieve.
        """
        wide = keys.float()
        activations = torch.einsum("bk,mkd->bmd", wide, self.changes).norm(dim=2)
        over, best = (activations / self.thresholds).max(1)
        main = over < 1
        if len(self.holes):
            gaps = torch.cdist(wide, self.holes, compute_mode="donot_use_mm_for_euclid_dist")
            main |= (gaps <= SAME * self.holes.norm(dim=1)).any(1)
        return torch.where(main, -1, best)


@contextmanager
def beside(matrix: Matrix, changes: Tensor, chosen: Any) -> Iterator[None]:
    """Have each row of a batch go through the value matrix and the change chosen for it.

    Args:
        matrix: the value matrix.
        changes: float32 [M, k, d].
        chosen: called at every run; int64 [B], -1 for a row that stays bit for bit as it is, or
            ``None`` where all rows stay.

    """

    def add(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        rows = chosen()
        if rows is None:
            return out
        rows = rows.to(out.device)
        taken = args[0].reshape(len(rows), -1, changes.shape[1]).float()  # OPT's is flat
        shaped = out.reshape(len(rows), -1, changes.shape[2])
        # one by one: a copy of a whole matrix for each row would be large
        added = torch.stack(
            [one @ changes[n] for one, n in zip(taken, rows.clamp(min=0).tolist(), strict=True)]
        )
        here = (rows >= 0)[:, None, None]
        return torch.where(here, shaped + added.to(out.dtype), shaped).reshape(out.shape)

    handle = matrix.module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def grouped(order: Sequence[Sequence[str]], shards: Mapping[str, Shard]) -> list[list[Shard]]:
    """Return memories as the shards of their edits; those that are left without any are out."""
    found = [[shards[name] for name in names if name in shards] for names in order]
    return [group for group in found if group]
