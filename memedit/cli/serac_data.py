"""A benchmark's cases as what SERAC learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memedit.scope.query import WINDOW
from memedit.types import EditRequest

if TYPE_CHECKING:
    from memedit.evaluation.cases import EditCase, Probe
    from memedit.serac.examples import Taught

_ALIASING = "Subject_Aliasing"


def taught_of(cases: Sequence[EditCase]) -> list[Taught]:
    """Return every edit of the cases with its prompts.

    In scope are the edit's own prompt, its rephrases and those by another name of the subject, as
    far as their answer is the edit's; out of scope the locality probes of its case.  What asks one
    hop further or the inverse is neither: no edit answers that by itself.
    """
    from memedit.evaluation.analysis.relations import Relations
    from memedit.evaluation.cases import Metric
    from memedit.serac.examples import Asked, Taught

    relations = Relations(cases)
    taught: dict[tuple[str, str], Taught] = {}
    for case in cases:
        unrelated = [one.prompt for one in case.probes if one.metric is Metric.LOCALITY]
        for number, request in enumerate(case.requests):
            asked = [Asked(request.prompt, request.target_new)]
            asked += [Asked(text, request.target_new) for text in request.rephrases]
            asked += [
                Asked(probe.prompt, request.target_new)
                for probe in case.probes
                if _in_scope(probe, request, len(case.requests) > 1)
            ]
            once = tuple({one.prompt: one for one in asked}.values())
            alone = unrelated if len(case.requests) == 1 else []
            taught.setdefault(
                (request.prompt, request.target_new),
                Taught(request, once, tuple(alone), relations.of_edit(case, number)),
            )
    return list(taught.values())


def _in_scope(probe: Probe, request: EditRequest, several: bool) -> bool:
    from memedit.evaluation.cases import Metric

    if request.target_new not in probe.answers or len(probe.prompt) > WINDOW:
        return False
    if probe.metric is Metric.GENERALITY:
        return not several or request.subject in probe.prompt
    return probe.metric is Metric.PORTABILITY and probe.kind == _ALIASING
