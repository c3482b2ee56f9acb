"""Which facts of a benchmark are traced, and how two of them are related."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from memedit.evaluation.analysis.record import Located
from memedit.evaluation.analysis.similarity import Pair
from memedit.evaluation.cases import EditCase, Metric

EDIT, REPHRASE, FOLLOWS, OTHER_RELATION = "edit", "rephrase", "follows", "other_relation"
_ROLES = (
    (Metric.GENERALITY, REPHRASE),
    (Metric.PORTABILITY, FOLLOWS),
    (Metric.LOCALITY, OTHER_RELATION),
)

CONSISTENCY = "same fact in other words"
RELEVANCE = "a fact and what follows from it"
SAME_SUBJECT = "same subject, another relation"
SAME_RELATION = "same relation, another subject"
UNRELATED = "unrelated"


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt to trace: it names the subject, so that there is something to disturb."""

    case: str
    role: str
    prompt: str
    subject: str
    relation: str


def facts_of(cases: Sequence[EditCase]) -> list[Asked]:
    """Return each case's own prompt, and the first probe of each role that names its subject.

    Cases of several edits (MQuAKE) give one fact per edit, without probes: those are of no one
    edit alone.
    """
    found: list[Asked] = []
    for case in cases:
        for request in case.requests:
            if request.subject in request.prompt:
                found.append(Asked(case.id, EDIT, request.prompt, request.subject, case.relation))
        if len(case.requests) != 1:
            continue
        [request] = case.requests
        for metric, role in _ROLES:
            prompt = next(
                (
                    probe.prompt
                    for probe in case.probes
                    if probe.metric == metric
                    and request.subject in probe.prompt
                    and probe.prompt != request.prompt
                ),
                None,
            )
            if prompt is not None:
                found.append(Asked(case.id, role, prompt, request.subject, case.relation))
    return found


def related(located: Sequence[Located]) -> dict[str, list[Pair]]:
    """Group the pairs of traced facts by how the two are related.

    Relations and subjects are compared where both are named; a pair of which that cannot be said
    stands in no group, and counts among all pairs alone.
    """
    groups: dict[str, list[Pair]] = {
        name: [] for name in (CONSISTENCY, RELEVANCE, SAME_SUBJECT, SAME_RELATION, UNRELATED)
    }
    within = {REPHRASE: CONSISTENCY, FOLLOWS: RELEVANCE, OTHER_RELATION: SAME_SUBJECT}
    for a, b in combinations(range(len(located)), 2):
        one, other = located[a], located[b]
        roles = {one.role, other.role}
        if one.case == other.case and EDIT in roles and len(roles) == 2:
            [role] = roles - {EDIT}
            groups[within[role]].append((a, b))
        elif roles == {EDIT} and one.case != other.case:
            name = kinship(one.subject, one.relation, other.subject, other.relation)
            if name:
                groups[name].append((a, b))
    return groups


def kinship(subject: str, relation: str, other_subject: str, other_relation: str) -> str | None:
    """Say how two edited facts are related; None where the data do not tell."""
    same_subject = subject.casefold() == other_subject.casefold()
    if not (relation and other_relation):
        return None
    if relation == other_relation:
        return None if same_subject else SAME_RELATION
    return SAME_SUBJECT if same_subject else UNRELATED
