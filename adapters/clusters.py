"""MELO's clusters: points with labels and blocks, centres with radii, and the update rules.

Nothing here knows a model.  The rules are the paper's; what is added keeps two promises that they
alone do not: an edit is not lost when a later one halves the radius it lies in or moves its
cluster's centre, and a deleted edit leaves nothing behind at its key.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memedit.adapters.key_space import distance_of, nearest, same_within, with_slack

NONE = -1
"""The block of a hole, and of a query outside every radius."""


@dataclass(frozen=True, slots=True)
class Point:
    """An edit's key, or what a deleted one left."""

    edit: str
    key: Tensor
    """float32 [k]"""
    label: str
    block: int
    """Which LoRA block answers; ``NONE``: a hole, next to which none does."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Points with one label."""

    label: str
    centre: Tensor
    """float32 [k]"""
    radius: float
    points: tuple[Point, ...]

    @property
    def live(self) -> bool:
        """Whether any of its points is an edit."""
        return any(point.block != NONE for point in self.points)


@dataclass(frozen=True, slots=True)
class Table:
    """What is looked up: m clusters with p points."""

    centres: Tensor
    """float32 [m, k]"""
    radii: Tensor
    """float32 [m], slack included."""
    points: Tensor
    """float32 [p, k]"""
    clusters: Tensor
    """int64 [p]: the cluster of each point."""
    blocks: Tensor
    """int64 [p]"""

    def to(self, device: torch.device) -> Table:
        """Return it on a device."""
        return Table(*(getattr(self, name).to(device) for name in self.__slots__))

    def blocks_of(self, queries: Tensor) -> Tensor:
        """Return for each query the block of its cluster's nearest point, ``NONE`` outside.

        Args:
            queries: [B, k], of any float dtype.

        Returns:
            int64 [B].

        """
        wide = queries.float()
        distances, own = _distances(wide, self.centres).min(1)
        apart = _distances(wide, self.points)  # [B, p]
        apart = apart.masked_fill(self.clusters != own[:, None], torch.inf)
        found = self.blocks[apart.argmin(1)]
        return torch.where(distances <= self.radii[own], found, NONE)


class Clusters:
    """All clusters; methods that change them change them in place."""

    def __init__(self, radius: float) -> None:
        self.radius = radius
        """r₀, the radius of a new cluster."""
        self.clusters: list[Cluster] = []

    def copy(self) -> Clusters:
        """Return one that can be changed without this one changing."""
        other = copy.copy(self)
        other.clusters = list(self.clusters)
        return other

    def points(self) -> list[Point]:
        """Return the points that are edits."""
        return [p for c in self.clusters for p in c.points if p.block != NONE]

    def table(self) -> Table:
        """Return what is looked up; there must be a cluster."""
        pairs = [(n, point) for n, c in enumerate(self.clusters) for point in c.points]
        return Table(
            torch.stack([c.centre for c in self.clusters]),
            # named, since the default one is the process's: see Codebook.table
            torch.tensor([with_slack(c.radius) for c in self.clusters], dtype=torch.float32),
            torch.stack([point.key for _, point in pairs]),
            torch.tensor([n for n, _ in pairs]),
            torch.tensor([point.block for _, point in pairs]),
        )

    def place(self, edit: str, key: Tensor, label: str, block: int) -> list[str]:
        """Add an edit by the update rules.

        With d the distance to the nearest centre, of radius r, and r₀ the radius of new clusters:
        d > r + r₀: a new cluster of r₀; else, of the same label: one more point, the centre
        becomes the points' mean and the radius max(largest distance, r₀); else, of another label:
        a new cluster, and both radii become d/2.

        Returns:
            Edits that were taken out, because they answered the same prompt otherwise.

        Source: Yu et al. 2024, "MELO: Enhancing Model Editing with Neuron-Indexed Dynamic LoRA",
        section 3.3.

        """
        replaced = self._clear(key, label)
        point = Point(edit, key, label, block)
        live = [n for n, cluster in enumerate(self.clusters) if cluster.live]
        if not live:
            self._found(point, self.radius)
            return replaced
        near, distance = nearest([self.clusters[n].centre for n in live], key)
        at = live[near]
        cluster = self.clusters[at]
        if distance > cluster.radius + self.radius:
            self._found(point, self.radius)
        elif cluster.label == label:
            points = (*cluster.points, point)
            keys = torch.stack([p.key for p in points if p.block != NONE]).double()
            centre = keys.mean(0)
            farthest = float((keys - centre).norm(dim=1).max())
            self.clusters[at] = Cluster(label, centre.float(), max(farthest, self.radius), points)
        else:
            self.clusters[at] = replace(cluster, radius=distance / 2)
            self._found(point, distance / 2)
        return replaced

    def assign(self, edits: Iterable[str], first: int) -> dict[str, int]:
        """Give new edits their blocks: those of one cluster share one; returns edit -> block.

        Args:
            edits: new ones, whatever blocks they have.
            first: the first number that is free.

        """
        new = set(edits)
        given: dict[str, int] = {}
        block = first
        for n, cluster in enumerate(self.clusters):
            own = [p.edit for p in cluster.points if p.edit in new and p.block != NONE]
            if own:
                given |= dict.fromkeys(own, block)
                points = tuple(
                    replace(p, block=block) if p.edit in new and p.block != NONE else p
                    for p in cluster.points
                )
                self.clusters[n] = replace(cluster, points=points)
                block += 1
        return given

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Give blocks new numbers: old -> new."""
        self.clusters = [
            replace(c, points=tuple(replace(p, block=numbers[p.block]) for p in c.points))
            for c in self.clusters
        ]

    def hold(self) -> None:
        """Give every point that would not be found a cluster of its own, with its own block.

        Its radius is r₀, or half the distance to the next point of another label.
        """
        while (lost := next((p for p in self.points() if not self._answered(p)), None)) is not None:
            own = next(c for c in self.clusters if any(p is lost for p in c.points))
            if len(own.points) > 1 or own.centre is not lost.key:
                self._promote(lost)
                continue
            # Another centre lies exactly at this key: that cluster is taken apart.
            at, _ = nearest([c.centre for c in self.clusters], lost.key)
            for point in self.clusters[at].points:
                self._promote(point)

    def _promote(self, point: Point) -> None:
        """Give a point a cluster of its own."""
        self._remove(point)
        others = [distance_of(p.key, point.key) for p in self.points() if p.label != point.label]
        self._found(point, min([self.radius, *(d / 2 for d in others)]))

    def delete(self, edit: str, *, hole: bool = True) -> None:
        """Take an edit out; centres and radii stay, so that no other edit is found differently.

        A hole is left at its key: what is nearest to it in its cluster has its base answer.

        Args:
            edit: one that is in it.
            hole: leave a hole; not, where the same prompt is learned anew.

        """
        point = next(p for p in self.points() if p.edit == edit)
        gone = replace(point, block=NONE)
        same = same_within(point.key)
        twin = any(distance_of(p.key, point.key) <= same for p in self.points() if p is not point)
        self._remove(point, gone if hole and not twin else None)
        if not self.points():
            self.clusters.clear()  # nothing is left to be kept away

    def _clear(self, key: Tensor, label: str) -> list[str]:
        """Take out other answers to the same prompt, and holes at it."""
        same = same_within(key)
        other = [
            p.edit for p in self.points() if p.label != label and distance_of(p.key, key) <= same
        ]
        for edit in other:
            self.delete(edit, hole=False)
        kept = []
        for cluster in self.clusters:
            points = tuple(
                p for p in cluster.points if p.block != NONE or distance_of(p.key, key) > same
            )
            if points:
                kept.append(replace(cluster, points=points))
        self.clusters = kept
        return other

    def _found(self, point: Point, radius: float) -> None:
        self.clusters.append(Cluster(point.label, point.key, radius, (point,)))

    def _remove(self, point: Point, by: Point | None = None) -> None:
        """Take a point out of its cluster, or put another in its place."""
        at = next(n for n, c in enumerate(self.clusters) if any(p is point for p in c.points))
        points = tuple(by if p is point else p for p in self.clusters[at].points)
        left = tuple(p for p in points if p is not None)
        if left:
            self.clusters[at] = replace(self.clusters[at], points=left)
        else:
            del self.clusters[at]

    def _resolved(self, key: Tensor) -> Point | None:
        """Return the point that answers at a key, as the look-up would."""
        if not self.clusters:
            return None
        at, distance = nearest([c.centre for c in self.clusters], key)
        if distance > with_slack(self.clusters[at].radius):
            return None
        points = self.clusters[at].points
        found, _ = nearest([p.key for p in points], key)
        return None if points[found].block == NONE else points[found]

    def _answered(self, point: Point) -> bool:
        found = self._resolved(point.key)
        return found is not None and found.label == point.label


def _distances(queries: Tensor, keys: Tensor) -> Tensor:
    """Return all distances, as sums of squared differences: exact to rounding in any batch."""
    return torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
