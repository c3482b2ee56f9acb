"""RSim: whether related facts are found in places more alike than any two facts are.

Source: survey, section 5.2, after Ju and Zhang 2023 (KLoB). What is computed here:

- a fact's *places* are the `k` units of its profile with the largest values: layers by the indirect
  effect of a causal trace, or columns of a weight change by their norm;
- the similarity of two facts is the overlap of their places, |A ∩ B| / k;
- Sim_cand is the mean over the pairs of a group of related facts, Sim_all that over all pairs of
  different profiles, and RSim(k) = max((Sim_cand - Sim_all) / (1 - Sim_all), 0).

1: related facts lie in the same places and others do not. 0: they are no more alike than any two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from memedit.errors import InvalidInputError
from memedit.evaluation.analysis.record import Similar

Pair = tuple[int, int]


def places(profile: Sequence[float], k: int) -> frozenset[int]:
    """Return the `k` units with the largest values; of equals, the earlier one."""
    order = sorted(range(len(profile)), key=lambda unit: (-profile[unit], unit))
    return frozenset(order[:k])


def rsim(
    profiles: Sequence[Sequence[float]],
    groups: Mapping[str, Iterable[Pair]],
    ks: Sequence[int],
    units: str,
) -> tuple[Similar, ...]:
    """Compare profiles: one `Similar` per group that has pairs, and per `k`.

    Args:
        profiles: one per fact, all of one length: [facts, units].
        groups: name -> the pairs of facts (by their place in `profiles`) that it holds.
        ks: how many of the strongest units to compare; those past the length are left out.
        units: what a unit is, for the record.

    Raises:
        InvalidInputError: the profiles differ in length, or a pair is of one fact.

    """
    lengths = {len(profile) for profile in profiles}
    if len(lengths) > 1:
        raise InvalidInputError(f"profiles of one length are expected; got {sorted(lengths)}")
    found = {name: list(pairs) for name, pairs in groups.items()}
    for name, pairs in found.items():
        if any(a == b for a, b in pairs):
            raise InvalidInputError(f"group {name!r} pairs a fact with itself")
    everything = list(combinations(range(len(profiles)), 2))
    compared = []
    for k in ks:
        if not everything or not 1 <= k <= max(lengths):
            continue
        sets = [places(profile, k) for profile in profiles]
        mean = _mean_overlap(sets, everything, k)
        compared += [
            Similar(
                group=name,
                units=units,
                k=k,
                related=_mean_overlap(sets, pairs, k),
                everything=mean,
                pairs=len(pairs),
                all_pairs=len(everything),
            )
            for name, pairs in found.items()
            if pairs
        ]
    return tuple(compared)


def _mean_overlap(sets: Sequence[frozenset[int]], pairs: Sequence[Pair], k: int) -> float:
    return sum(len(sets[a] & sets[b]) for a, b in pairs) / (k * len(pairs))
