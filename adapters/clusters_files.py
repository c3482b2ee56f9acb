"""Clusters as tensors and plain values: what is saved of MELO beside its LoRA blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memedit.adapters.clusters import NONE, Cluster, Clusters, Point
from memedit.adapters.learned import (
    Saved,
)
from memedit.errors import InvalidInputError


def saved_clusters(clusters: Clusters | None) -> Saved:
    """Return the tensors and the plain values that ``clusters_of`` makes the same clusters of."""
    if clusters is None or not clusters.clusters:
        return Saved({}, {"radius": None if clusters is None else clusters.radius})
    table = clusters.table()
    return Saved(
        {"centres": table.centres, "points": table.points},
        {
            "radius": clusters.radius,
            "clusters": [
                {
                    "label": cluster.label,
                    "radius": cluster.radius,
                    "points": [
                        {"edit": p.edit, "label": p.label, "block": p.block} for p in cluster.points
                    ],
                }
                for cluster in clusters.clusters
            ],
        },
    )


def clusters_of(saved: Saved, edits: Sequence[str], blocks: int) -> Clusters | None:
    """Make the clusters of what ``saved_clusters`` returned.

    Args:
        saved: finite tensors and plain values.
        edits: the ids of the edits that they must hold, no more and no fewer.
        blocks: how many LoRA blocks there are.

    Raises:
        InvalidInputError: tensors are missing or of shapes that do not fit.

    """
    state = saved.state
    if state["radius"] is None:
        return None
    made = Clusters(float(state["radius"]))
    said: list[dict[str, Any]] = list(state.get("clusters", ()))
    count = sum(len(cluster["points"]) for cluster in said)
    if said:
        centres, points = saved.tensors.get("centres"), saved.tensors.get("points")
        if centres is None or points is None or centres.ndim != 2 or points.ndim != 2:
            raise InvalidInputError("expected tables of centres and of points")
        if (len(centres), len(points)) != (len(said), count) or (
            centres.shape[1] != points.shape[1]
        ):
            raise InvalidInputError(
                f"centres {tuple(centres.shape)} and points {tuple(points.shape)} are not those "
                f"of {len(said)} clusters with {count} points"
            )
        rows = iter(points.float())
        for centre, one in zip(centres.float(), said, strict=True):
            own = tuple(
                Point(str(p["edit"]), next(rows), str(p["label"]), int(p["block"]))
                for p in one["points"]
            )
            made.clusters.append(Cluster(str(one["label"]), centre, float(one["radius"]), own))
    there = [point.edit for point in made.points()]
    if sorted(there) != sorted(edits):
        raise InvalidInputError("the clusters hold other edits than the manifest lists")
    numbers = [p.block for c in made.clusters for p in c.points]
    if any(not NONE <= number < blocks for number in numbers):
        raise InvalidInputError(f"a point names a LoRA block that is none of {blocks}")
    return made
