"""Which cases of a benchmark are analysed: those that state a fact, some of them related."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from memedit.evaluation.analysis.facts import SAME_RELATION, SAME_SUBJECT, kin
from memedit.evaluation.analysis.relations import Relations
from memedit.evaluation.cases import EditCase
from memedit.evaluation.datasets import spread
from memedit.types import Operation


def states_fact(case: EditCase) -> bool:
    """Tell whether a case's edits state facts: a prompt about a subject, and its answer.

    Opinions (ConvSent), erasures (Sanitation), passages that are continued by a whole sentence
    (WikiBio) and prompts that do not name their subject are none.
    """
    return case.replies is None and all(
        request.operation is not Operation.ERASE
        and request.subject in request.prompt
        and request.target_new != request.statement
        for request in case.requests
    )


def chosen_cases(
    cases: Sequence[EditCase], limit: int, relations: Relations | None = None
) -> list[EditCase]:
    """Choose up to `limit` cases that state a fact, evenly over the tasks, in order.

    Half of a task's share is spaced evenly; each of these brings one with it that is akin, as far
    as there is one: of the same relation, or, for every second one, of the same subject. What is
    related can be compared with what is not then. The same data give the same choice.
    """
    facts = [case for case in cases if states_fact(case)]
    known = Relations(cases) if relations is None else relations
    shares = Counter(case.task for case in spread(facts, limit)) if facts else Counter()
    return [
        case
        for task, share in shares.items()
        for case in _share([case for case in facts if case.task == task], share, known)
    ]


def _share(there: Sequence[EditCase], share: int, relations: Relations) -> list[EditCase]:
    places = {case.id: place for place, case in enumerate(there)}
    chosen = {case.id: case for case in spread(there, (share + 1) // 2)}
    for number, case in enumerate(list(chosen.values())):
        if len(chosen) == share:
            break
        wanted = (SAME_RELATION, SAME_SUBJECT) if number % 2 == 0 else (SAME_SUBJECT, SAME_RELATION)
        at = places[case.id]
        found = {
            kin(case, other, relations): other
            for other in reversed([*there[at:], *there[:at]])  # the nearest one behind it stays
            if other.id not in chosen
        }
        other = next((found[kind] for kind in wanted if kind in found), None)
        if other is not None:
            chosen[other.id] = other
    rest = [case for case in there if case.id not in chosen]
    chosen |= {case.id: case for case in spread(rest, share - len(chosen))}
    return sorted(chosen.values(), key=lambda case: places[case.id])
