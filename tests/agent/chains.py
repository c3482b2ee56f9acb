"""A chain of two facts, the first of them edited, and a classifier that tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.agent import AGENTS
from memedit.agent.decomposing import Decomposing
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.types import ScopeDecision
from tests.routing.tiny_memory import decided

QUESTION = "Who is the mayor of the capital of France?"
SCRIPT = (
    " France",
    "\nSubquestion: What is the capital of France?\n",
    "\nSubquestion: Who is the mayor of Norwick?\n",
    " The mayor of Norwick is Petra.",
    "\nAccording to Generated answer, the entity of Subquestion is: Petra.\nFinal answer: Petra.",
)
"""What a model says to PokeMQA; the capital is read off the edit."""

DECOMPOSING = [name for name in AGENTS.names() if issubclass(AGENTS.get(name), Decomposing)]
"""The methods whose model takes questions apart."""


class ByHops(ScopeClassifier):
    """Who asks for the capital gets it; who asks for something of the capital depends on it."""

    threshold = 0.5

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        return [[_judged(each, one) for one in each.candidates] for each in inputs]


def _judged(asked: ScopeInput, candidate: object) -> ScopeDecision:
    text = asked.query.text
    if "mayor of the capital" in text:
        return decided(candidate, 0.1, 0.8)  # type: ignore[arg-type]
    return decided(candidate, 0.9 if "capital of France" in text else 0.0)  # type: ignore[arg-type]
