"""Curves drawn with fewer points stay the same curves."""

from __future__ import annotations

import bisect

import numpy as np

from memedit.evaluation.plots_scope import Curve, turns


def height(curve: Curve, x: float) -> float:
    """Return the height of a staircase that turns at its points, at ``x`` and right of it."""
    return curve[bisect.bisect_right([place for place, _ in curve], x) - 1][1]


def testturns_are_the_staircase_of_all_points() -> None:
    rng = np.random.default_rng(2)
    pairs = np.sort(rng.integers(0, 9, (40, 2)) / 8, axis=0).tolist()
    curve = [(0.0, 0.0), *sorted({(x, y) for x, y in pairs}), (1.0, 1.0)]
    kept = turns(curve)
    assert len(kept) < len(curve) and set(kept) <= set(curve)
    assert all(height(kept, x) == height(curve, x) for x in np.linspace(0, 1, 65))
    assert turns([(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]) == [(0.0, 0.0), (1.0, 0.0)]
    assert turns([]) == []
