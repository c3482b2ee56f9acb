"""A benchmark's cases as facts for PokeMQA's scope detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memedit.cli.serac_data import taught_of

if TYPE_CHECKING:
    from memedit.evaluation.cases import EditCase
    from memedit.scope.training.facts import Fact


def facts_of(cases: Sequence[EditCase]) -> list[Fact]:
    """Return every edit of the cases with its prompts, in scope and out of it, as SERAC has them.

    A locality probe that may ask what the edit changes is neither, and so is one that may ask what
    another edit of the data set does.
    """
    from memedit.evaluation.scoping import scope_probes
    from memedit.scope.training.facts import Asked, Fact
    from memedit.types import ScopeLabel

    _, probes = scope_probes(cases)
    faulty = {probe.text for probe in probes if probe.faulty}
    return [
        Fact(
            "cases",
            one.request,
            one.relation or None,
            (
                *(Asked(asked.prompt, ScopeLabel.DIRECT, "question") for asked in one.asked),
                *(
                    Asked(text, ScopeLabel.UNRELATED, "locality")
                    for text in one.unrelated
                    if text not in faulty
                ),
            ),
        )
        for one in taught_of(cases)
    ]
