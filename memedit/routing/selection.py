"""From candidates to the edits that are applied: merging, order, and edits that disagree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from memedit.routing.contradicting import Contest, LeftOut, Pair, Why
from memedit.routing.nested_names import inside_longer
from memedit.types import Candidate, Edit, QueryText, ScopeDecision, ScopeLabel


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


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the judged candidates is applied to one prompt."""

    considered: tuple[ScopeDecision, ...]
    """All of them, most probable first."""
    applied: tuple[ScopeDecision, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """What would be applied, did another edit not answer the prompt differently."""


def selected(
    prompt: str,
    decisions: Sequence[ScopeDecision],
    threshold: float,
    max_edits: int,
    namespaces: Sequence[str],
    same: Collection[Pair] = (),
    context: Sequence[str] = (),
) -> Selection:
    """Say which edits are applied to a prompt, and which are left out for others.

    Applied are the edits whose probability reaches ``threshold``: the direct ones before the
    dependent ones, at most ``max_edits``.  Of edits that give one prompt different answers only
    one is applied: of edits with the same prompt that of the namespace named first, of those one
    that states it before those that imply it, and the newest; of others see ``contradicting``.  Of
    two edits of which one is named only within the name of the other the latter is; see
    ``nested_names``.
    Equal decisions stand in a fixed order, so that equal requests become equal prompts.

    Args:
        prompt: what is asked.
        decisions: what was judged.
        threshold: the probability from which an edit concerns the prompt.
        max_edits: edits applied at most.
        namespaces: as the request names them.
        same: pairs of edits, as ``doubtful`` yields them, of which each answers the other's prompt.
        context: earlier turns, oldest first, which the prompt may lean on.

    """
    considered, concerned, left_out = _speaking(prompt, decisions, threshold, namespaces, context)
    if len(concerned) > 1:
        left_out += Contest(prompt, concerned, namespaces).left_out(same)
    gone = {one.edit for one in left_out}
    applied = [one for one in concerned if one.candidate.edit.ref not in gone]
    applied.sort(key=lambda one: one.label is not ScopeLabel.DIRECT)  # stable
    return Selection(considered, tuple(applied[:max_edits]), left_out)


def doubtful(
    prompt: str,
    decisions: Sequence[ScopeDecision],
    threshold: float,
    namespaces: Sequence[str],
    context: Sequence[str] = (),
) -> Iterator[tuple[Edit, Edit]]:
    """Yield the pairs of edits for which ``selected`` has to know whether they answer the same."""
    _, concerned, _ = _speaking(prompt, decisions, threshold, namespaces, context)
    if len(concerned) > 1:
        yield from Contest(prompt, concerned, namespaces).doubtful()


def _speaking(
    prompt: str,
    decisions: Sequence[ScopeDecision],
    threshold: float,
    namespaces: Sequence[str],
    context: Sequence[str],
) -> tuple[tuple[ScopeDecision, ...], list[ScopeDecision], tuple[LeftOut, ...]]:
    """Return all decisions in order, those among which a contest is held, and what is out of it."""
    considered, concerned, left_out = _one_by_prompt(decisions, threshold, namespaces)
    if len(concerned) < 2:  # most requests have none, and their prompts may be long
        return considered, concerned, left_out
    nested = inside_longer(QueryText(prompt, tuple(context)), concerned)
    gone = {one.edit for one in nested}
    speaking = [one for one in concerned if one.candidate.edit.ref not in gone]
    return considered, speaking, (*left_out, *nested)


def _one_by_prompt(
    decisions: Sequence[ScopeDecision], threshold: float, namespaces: Sequence[str]
) -> tuple[tuple[ScopeDecision, ...], list[ScopeDecision], tuple[LeftOut, ...]]:
    """Return all decisions in order, those that concern the prompt, and what speaks for others."""
    considered = sorted(
        decisions,
        key=lambda one: (-one.probability, -one.candidate.similarity, one.candidate.edit.id),
    )
    concerned = [one for one in considered if one.probability >= threshold]
    rank = {namespace: number for number, namespace in enumerate(namespaces)}

    def precedence(one: ScopeDecision) -> tuple[int, bool, float, str]:
        edit = one.candidate.edit
        written = -edit.created_at.timestamp()
        return (rank.get(edit.namespace, len(rank)), one.candidate.turned, written, edit.id)

    speaker: dict[str, ScopeDecision] = {}
    for one in concerned:
        known = speaker.setdefault(_asked(one.candidate.edit), one)
        if precedence(one) < precedence(known):
            speaker[_asked(one.candidate.edit)] = one
    speaking, left_out = [], []
    for one in concerned:
        edit, by = one.candidate.edit, speaker[_asked(one.candidate.edit)]
        if by.candidate.edit == edit:
            speaking.append(one)
            continue
        mine, its = precedence(one), precedence(by)
        why = Why.NAMESPACE if mine[0] != its[0] else Why.NEWEST
        if mine[0] == its[0] and mine[1] != its[1]:
            why = Why.STATED
        left_out.append(LeftOut(edit.ref, by.candidate.edit.ref, why))
    return tuple(considered), speaking, tuple(left_out)


def _asked(edit: Edit) -> str:
    """Return the prompt of an edit as far as letter case and white space do not matter."""
    return " ".join(edit.request.prompt.casefold().split())
