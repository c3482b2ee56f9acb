"""One question on its way through an agent: its transcript, its hops, its cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from memedit.agent.completing import Completion, Endpoint, Steps
from memedit.agent.lines import Label, Line, one_line
from memedit.agent.trace import Ended, Hop, Trace, Usage
from memedit.routing import NeedRoutes, Route, RouteQuery
from memedit.types import DEFAULT_NAMESPACE, QueryText, Surface


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where and how edits are looked for."""

    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    threshold: float | None = None
    """Probability from which an edit is in scope; ``None``: the classifier's own."""


@dataclass(slots=True)
class Session:
    """Grows line by line; the text of earlier lines never changes, so prefix caches keep it."""

    question: str
    endpoint: Endpoint
    lookup: Lookup = field(default_factory=Lookup)
    demonstrations: str = ""
    transcript: str = ""
    hops: list[Hop] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    entity: str | None = None
    whole: Route | None = None
    """What the question itself leans on, where that was asked for."""

    def write(self, label: Label, text: str = "") -> None:
        """Append one line."""
        start = "\n" if self.transcript else ""
        self.transcript += f"{start}{Line(label, one_line(text))}"

    def go_on(self, stop: Sequence[str]) -> Steps[Completion]:
        """Let the model go on behind the last line; nothing is written."""
        head = self.demonstrations.strip()
        prompt = f"{head}\n\n{self.transcript}" if head else self.transcript
        said = yield from self.endpoint.complete(prompt, stop)
        self.usage += said.usage
        return said

    def look_up(self, subquestion: str) -> Steps[Route]:
        """Have the edits judged that may answer ``subquestion``.

        Raises:
            MemoryFailure: the memory cannot answer.

        """
        query = RouteQuery(
            QueryText(subquestion), Surface.CHAT, self.lookup.namespaces, self.lookup.threshold
        )
        routes: list[Route] = yield NeedRoutes((query,))
        return routes[0]

    def asked_before(self, subquestion: str) -> bool:
        """Tell whether this very subquestion was asked in an earlier hop."""
        key = one_line(subquestion).casefold()
        return any(one_line(hop.subquestion).casefold() == key for hop in self.hops)

    def settle(self, **changes: Any) -> None:
        """Complete the last hop."""
        self.hops[-1] = replace(self.hops[-1], **changes)

    def end(
        self, method: str, ended: Ended, answer: str | None = None, error: str | None = None
    ) -> Trace:
        """Return what was done as a value."""
        return Trace(
            question=self.question,
            method=method,
            ended=ended,
            answer=answer,
            hops=tuple(self.hops),
            error=error,
            entity=self.entity,
            model=self.endpoint.model,
            usage=self.usage,
            transcript=self.transcript,
        )
