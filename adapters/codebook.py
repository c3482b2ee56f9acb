"""GRACE's codebook: keys with radii, the four update rules, and taking edits out again.

Nothing here knows a model.  The rules are the paper's; what is added keeps two promises that they
alone do not: an edit is not lost when a later one halves the radius it lies in, and a deleted edit
leaves nothing behind at its key.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memedit.adapters.key_space import SLACK, distance_of, nearest, same_within, with_slack

SPLIT_GAP = 1e-5
"""What the older key's radius is less than half the distance, where two labels meet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key that is looked up."""

    edit: str
    """The edit that made it; of a hole, the one that was deleted."""
    key: Tensor
    """float32 [k]"""
    value: Tensor | None
    """float32 [d]; ``None``: a hole, next to which nothing is replaced."""
    radius: float
    label: str

    @property
    def is_hole(self) -> bool:
        """Whether it only keeps other entries away."""
        return self.value is None


@dataclass(frozen=True, slots=True)
class Member:
    """An edit that lies in the radius of an entry with its label, and is answered by it."""

    edit: str
    key: Tensor
    """float32 [k]"""
    value: Tensor
    """float32 [d]: its own, should it need an entry of its own."""
    label: str


@dataclass(frozen=True, slots=True)
class Table:
    """What is looked up, m entries."""

    keys: Tensor
    """float32 [m, k]"""
    radii: Tensor
    """float32 [m]: slack included; -1 of holes."""
    values: Tensor
    """float32 [m, d]"""

    def to(self, device: torch.device) -> Table:
        """Return it on a device."""
        return Table(self.keys.to(device), self.radii.to(device), self.values.to(device))

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each query its nearest key, and whether that key's radius holds it.

        The two nearest are found by one product of matrices, which rounds; their distances are
        then taken anew, as sums of squared differences, exact to rounding whatever the batch.

        Args:
            queries: [T, k], of any float dtype.

        Returns:
            int64 [T] and bool [T].

        """
        wide = queries.float()
        rough = self.keys.square().sum(1) - 2 * (wide @ self.keys.T)
        two = rough.topk(min(2, len(self.keys)), largest=False).indices  # [T, 2]
        distances = (wide[:, None] - self.keys[two]).square().sum(2).sqrt()
        distance, first = distances.min(1)
        found = two.gather(1, first[:, None])[:, 0]
        return found, distance <= self.radii[found]


class Codebook:
    """Entries and members; methods that change it change it in place."""

    def __init__(self, radius: float) -> None:
        self.radius = radius
        """The radius of a new entry."""
        self.entries: list[Entry] = []
        self.members: list[Member] = []

    def copy(self) -> Codebook:
        """Return one that can be changed without this one changing."""
        other = copy.copy(self)
        other.entries, other.members = list(self.entries), list(self.members)
        return other

    def table(self) -> Table:
        """Return what is looked up; there must be an entry."""
        width = next(e.value for e in self.entries if e.value is not None).shape[0]
        # Types are named throughout: the default one is the process's, and transformers changes it
        # while another thread, of a server that reads its checkpoint, builds a model.
        blank = torch.zeros(width, dtype=torch.float32)
        radii = [-1.0 if e.is_hole else with_slack(e.radius) for e in self.entries]
        return Table(
            torch.stack([e.key for e in self.entries]),
            torch.tensor(radii, dtype=torch.float32),
            torch.stack([blank if e.value is None else e.value for e in self.entries]),
        )

    def place(self, edit: str, key: Tensor, value: Tensor, label: str) -> list[str]:
        """Add an edit by the four rules.

        With d the distance to the nearest entry, of radius ε, and ε₀ the radius of new ones:
        d > ε₀ + ε: a new entry of ε₀; else, of another label: a new entry of d/2, and the nearest
        one's radius becomes d/2 - 1e-5; else, of the same label: no new entry, and where d > ε,
        that radius becomes d.

        Returns:
            Edits that were taken out, because they answered the same prompt otherwise.

        Source: Hartvigsen et al. 2023, "Aging with GRACE", algorithm 1.

        """
        replaced = self._clear(key, label)
        near = self._nearest_live(key)
        if near is None:
            self._found(edit, key, value, label, self.radius)
            return replaced
        at, distance = near
        entry = self.entries[at]
        if distance > self.radius + entry.radius:
            self._found(edit, key, value, label, self.radius)
        elif entry.label != label:
            self.entries[at] = replace(entry, radius=distance / 2 - SPLIT_GAP)
            self._found(edit, key, value, label, distance / 2)
        else:
            self.members.append(Member(edit, key, value, label))
            self.entries[at] = replace(entry, radius=max(entry.radius, distance))
        return replaced

    def value_of(self, edit: str) -> Tensor:
        """Return an edit's own value, float32 [d], also where it lies in another's entry."""
        value = next(point.value for point in self._edits() if point.edit == edit)
        assert value is not None  # holes are no edits
        return value

    def hold(self) -> None:
        """Give every member that is no longer answered by its own label an entry of its own.

        Its radius is ε₀, or half the distance to the next edit of another label.
        """
        while lost := next((m for m in self.members if not self._answered(m)), None):
            self.promote(lost.edit)

    def promote(self, edit: str) -> bool:
        """Give a member an entry of its own; returns whether it was one."""
        member = next((m for m in self.members if m.edit == edit), None)
        if member is None:
            return False
        self.members = [m for m in self.members if m is not member]
        others = [
            distance_of(other.key, member.key)
            for other in self._edits()
            if other.label != member.label
        ]
        radius = min([self.radius, *(d / 2 for d in others)])
        self._found(member.edit, member.key, member.value, member.label, radius)
        return True

    def delete(self, edit: str, *, hole: bool = True) -> None:
        """Take an edit out.

        A hole is left at its key: what is nearest to it has its base answer, also when entries
        beside it go or grow later.  Members of its entry get entries of their own.

        Args:
            edit: one that is in it.
            hole: leave a hole; not, where the same prompt is learned anew.

        """
        point = next(p for p in self._edits() if p.edit == edit)
        if isinstance(point, Member):
            self.members = [m for m in self.members if m is not point]
        else:
            self.entries = [e for e in self.entries if e is not point]
        self.hold()
        same = same_within(point.key)
        if hole and all(distance_of(p.key, point.key) > same for p in self._edits()):
            self.entries.append(Entry(edit, point.key, None, 0.0, point.label))
        if not self._edits():
            self.entries.clear()  # nothing is left to be kept away
        self.hold()

    def _clear(self, key: Tensor, label: str) -> list[str]:
        """Take out other answers to the same prompt, and holes at it."""
        same = same_within(key)
        self.entries = [
            e for e in self.entries if not (e.is_hole and distance_of(e.key, key) <= same)
        ]
        other = [
            point.edit
            for point in self._edits()
            if point.label != label and distance_of(point.key, key) <= same
        ]
        for edit in other:
            self.delete(edit, hole=False)
        return other

    def _found(self, edit: str, key: Tensor, value: Tensor, label: str, radius: float) -> None:
        self.entries.append(Entry(edit, key, value, radius, label))

    def _edits(self) -> list[Entry | Member]:
        """Return all that stand for an edit."""
        return [*self._live(), *self.members]

    def _live(self) -> Iterator[Entry]:
        return (entry for entry in self.entries if not entry.is_hole)

    def _nearest_live(self, key: Tensor) -> tuple[int, float] | None:
        """Return the place and the distance of the nearest entry that is no hole."""
        places = [n for n, entry in enumerate(self.entries) if not entry.is_hole]
        if not places:
            return None
        found, distance = nearest([self.entries[n].key for n in places], key)
        return places[found], distance

    def _answered(self, member: Member) -> bool:
        """Tell whether a look-up at a member's key ends at its label, not by a hair's breadth."""
        if not self.entries:
            return False
        keys = torch.stack([entry.key for entry in self.entries]).double()
        distances = (keys - member.key.double()).norm(dim=1)
        edge = with_slack(float(distances.min()))
        near = [self.entries[n] for n in (distances <= edge).nonzero()[:, 0].tolist()]
        return all(
            not e.is_hole
            and e.label == member.label
            and distance_of(e.key, member.key) <= e.radius * (1 + SLACK / 2)
            for e in near
        )
