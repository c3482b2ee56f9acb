"""From candidates to the edits that are applied: merging, order, and edits that disagree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from memedit.types import Candidate, Edit, ScopeDecision, ScopeLabel


def merged(candidates: Iterable[Candidate], k: int) -> tuple[Candidate, ...]:
    """Keep each edit once, with its best similarity: the ``k`` most similar ones and the named.

    In a fixed order, most similar first.  A query is searched for with several texts, and each
    brings up its own candidates.
    """
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        known = best.get(candidate.edit.ref)
        if known is None or candidate.similarity > known.similarity:
            named = candidate.named or (known is not None and known.named)
            best[candidate.edit.ref] = replace(candidate, named=named)
        elif candidate.named and not known.named:
            best[candidate.edit.ref] = replace(known, named=True)
    ordered = sorted(best.values(), key=lambda one: (-one.similarity, one.edit.id))
    return tuple(one for place, one in enumerate(ordered) if place < k or one.named)


def selected(
    decisions: Sequence[ScopeDecision],
    threshold: float,
    max_edits: int,
    namespaces: Sequence[str],
) -> tuple[tuple[ScopeDecision, ...], tuple[ScopeDecision, ...]]:
    """Return all decisions, most probable first, and those that are to be applied.

    Applied are the edits whose probability reaches ``threshold``: the direct ones before the
    dependent ones, at most ``max_edits``.  Of edits that give one prompt different answers only
    one is applied: that of the namespace named first, and of those the newest.  Equal decisions
    stand in a fixed order, so that equal requests become equal prompts.
    """
    considered = sorted(
        decisions,
        key=lambda one: (-one.probability, -one.candidate.similarity, one.candidate.edit.id),
    )
    concerned = [one for one in considered if one.probability >= threshold]
    rank = {namespace: number for number, namespace in enumerate(namespaces)}

    def precedence(edit: Edit) -> tuple[int, float, str]:
        return (rank.get(edit.namespace, len(rank)), -edit.created_at.timestamp(), edit.id)

    speaker: dict[str, Edit] = {}
    for one in concerned:
        edit = one.candidate.edit
        known = speaker.setdefault(_asked(edit), edit)
        if precedence(edit) < precedence(known):
            speaker[_asked(edit)] = edit
    applied = [
        one for one in concerned if speaker[_asked(one.candidate.edit)] == one.candidate.edit
    ]
    applied.sort(key=lambda one: one.label is not ScopeLabel.DIRECT)  # stable
    return tuple(considered), tuple(applied[:max_edits])


def _asked(edit: Edit) -> str:
    """Return the prompt of an edit as far as letter case and white space do not matter."""
    return " ".join(edit.request.prompt.casefold().split())
