"""Which facts of a benchmark are traced, and how two of them are related."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from memedit.evaluation.analysis.record import Located
from memedit.evaluation.analysis.relations import Relations
from memedit.evaluation.analysis.similarity import Pair
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.types import EditRequest

EDIT, REPHRASE, FOLLOWS, OTHER_RELATION = "edit", "rephrase", "follows", "other_relation"
_ROLES = (
    (Metric.GENERALITY, REPHRASE),
    (Metric.PORTABILITY, FOLLOWS),
    (Metric.LOCALITY, OTHER_RELATION),
)
_FORGETFULNESS = "Forgetfulness"
"""KnowEdit's locality of answers that an edit of a list leaves: it asks the edited relation."""

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


def facts_of(cases: Sequence[EditCase], relations: Relations) -> list[Asked]:
    """Return each case's own prompt, and the first probe of each role that names its subject.

    Cases of several edits (MQuAKE) give one fact per edit, without probes: those are of no one
    edit alone.
    """
    found: list[Asked] = []
    for case in cases:
        for number, request in enumerate(case.requests):
            if request.subject in request.prompt:
                own = relations.of_edit(case, number)
                found.append(Asked(case.id, EDIT, request.prompt, request.subject, own))
        if len(case.requests) != 1:
            continue
        [request] = case.requests
        own = relations.of_edit(case)
        for metric, role in _ROLES:
            asked = (
                (probe.prompt, _relation(role, probe, request, own, relations))
                for probe in case.probes
                if probe.metric == metric
                and request.subject in probe.prompt
                and probe.prompt != request.prompt
            )
            for prompt, relation in asked:
                if relation is not None:
                    found.append(Asked(case.id, role, prompt, request.subject, relation))
                    break
    return found


def _relation(
    role: str, probe: Probe, request: EditRequest, own: str, relations: Relations
) -> str | None:
    """Return the relation that a probe asks after; None where it does not play the role."""
    if role == REPHRASE:
        return own
    if role == FOLLOWS:  # it leans on the edited fact and on another one
        return ""
    asked = relations.of(probe.prompt, request.subject)
    return None if probe.kind == _FORGETFULNESS or (asked and asked == own) else asked


def related(located: Sequence[Located]) -> dict[str, list[Pair]]:
    """Group the pairs of traced facts by how the two are related.

    Within a case its edit stands beside each of its probes. Across cases, edits and probes of other
    relations are compared by subject and relation, where both are known; a pair of which that
    cannot be said stands in no group, and counts among all pairs alone.
    """
    groups: dict[str, list[Pair]] = {
        name: [] for name in (CONSISTENCY, RELEVANCE, SAME_SUBJECT, SAME_RELATION, UNRELATED)
    }
    within = {REPHRASE: CONSISTENCY, FOLLOWS: RELEVANCE, OTHER_RELATION: SAME_SUBJECT}
    for a, b in combinations(range(len(located)), 2):
        one, other = located[a], located[b]
        roles = {one.role, other.role}
        if one.case == other.case:
            if EDIT in roles and len(roles) == 2:
                [role] = roles - {EDIT}
                groups[within[role]].append((a, b))
        elif roles <= {EDIT, OTHER_RELATION}:
            name = kinship(one.subject, one.relation, other.subject, other.relation)
            if name:
                groups[name].append((a, b))
    return groups


def kin(one: EditCase, other: EditCase, relations: Relations) -> str | None:
    """Say how the facts of two cases are related; None where one has several edits."""
    if len(one.requests) != 1 or len(other.requests) != 1:
        return None
    [own], [their] = one.requests, other.requests
    return kinship(own.subject, relations.of_edit(one), their.subject, relations.of_edit(other))


def kinship(subject: str, relation: str, other_subject: str, other_relation: str) -> str | None:
    """Say how two facts are related; None where the data do not tell."""
    same_subject = subject.casefold() == other_subject.casefold()
    if not (relation and other_relation):
        return None
    if relation == other_relation:
        return None if same_subject else SAME_RELATION
    return SAME_SUBJECT if same_subject else UNRELATED
