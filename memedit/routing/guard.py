"""The erasure guard's rules: what the answer about an erased fact must not hold.

The prompt asks the model not to tell; the guard sees to it.  It knows the forbidden string from the
edit's ``ground_truth``, and touches only answers to prompts that an erasure was applied to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from memedit.routing.route import Route
from memedit.routing.watch import Forbidden, Watch

SAFE: Final = "I don't know."
"""Said where the edit's own safe answer would itself tell."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the answers to one prompt must not hold."""

    forbidden: Forbidden
    safe: str
    """What is said instead: ``target_new`` of the erasing edit."""
    behind: str = ""
    """What the answer continues, word by word: the end of a completion's prompt, or a turn of the
    assistant that the client began."""

    def broken_by(self, text: str) -> bool:
        """Tell whether an answer holds what it must not."""
        return self.forbidden.within(text, self.behind)

    def watch(self) -> Watch:
        """Return what reads one answer piece by piece."""
        return Watch(self.forbidden, self.behind)


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
        begun = _begun(body)
        behind = begun if len(begun) == len(routes) else [""] * len(routes)
        rules = tuple(map(_rule, routes, behind))
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


def _begun(body: Mapping[str, Any]) -> list[str]:
    """Return what the answer to each prompt continues."""
    prompts, messages = body.get("prompt"), body.get("messages")
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, list):
        return [one if isinstance(one, str) else "" for one in prompts]
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        return [""]
    content = last.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return ["".join(text for text in texts if isinstance(text, str))]


def _rule(route: Route, behind: str) -> Rule | None:
    erased = [one.candidate.edit.request for one in route.erasures]
    forbidden = Forbidden.of(one.ground_truth for one in erased if one.ground_truth)
    if not forbidden:
        return None
    answers = (*(one.target_new for one in erased), SAFE, "")
    return Rule(forbidden, next(safe for safe in answers if not forbidden.within(safe)), behind)
