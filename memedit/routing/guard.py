"""The erasure guard's rules: what the answer about an erased fact must not hold.

The prompt asks the model not to tell; the guard sees to it.  It knows the forbidden string from the
edit's ``ground_truth``, and touches only answers to prompts that an erasure was applied to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from memedit.routing.route import Route
from memedit.routing.watch import Forbidden
from memedit.types import Operation

SAFE: Final = "I don't know."
"""Said where the edit's own safe answer would itself tell."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the answers to one prompt must not hold."""

    forbidden: Forbidden
    safe: str
    """What is said instead: ``target_new`` of the erasing edit."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one request."""

    rules: tuple[Rule | None, ...]
    """One per prompt, in order."""
    n: int = 1
    """Choices per prompt; those of a batch stand one prompt after another."""
    to_its_end: bool = False
    """Whether a stream of choices goes on behind a withheld one: others, or usage, are to come."""

    @classmethod
    def of(cls, routes: Sequence[Route], body: Mapping[str, Any]) -> Guard | None:
        """Return the guard of a request, or none where no rule can be made.

        Args:
            routes: one per prompt.
            body: the request's.

        """
        rules = tuple(_rule(route) for route in routes)
        if not any(rules):
            return None
        n = body.get("n")
        n = n if type(n) is int and n > 0 else 1
        options = body.get("stream_options")
        usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        return cls(rules, n, usage or n * len(rules) > 1)

    def rule(self, choice: int) -> Rule | None:
        """Return the rule for a choice; of a number that was not asked for, the strictest."""
        prompt = choice // self.n
        if 0 <= prompt < len(self.rules):
            return self.rules[prompt]
        return next(rule for rule in self.rules if rule is not None)


def _rule(route: Route) -> Rule | None:
    erased = [
        decision.candidate.edit.request
        for decision in route.applied
        if decision.candidate.edit.request.operation is Operation.ERASE
    ]
    forbidden = Forbidden.of(one.ground_truth for one in erased if one.ground_truth)
    if not forbidden:
        return None
    answers = (*(one.target_new for one in erased), SAFE, "")
    return Rule(forbidden, next(safe for safe in answers if not forbidden.within(safe)))
