"""The agent on the road of a request: what its plan calls to answer a prompt hop by hop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, TypeVar

from memedit.agent.base import AgentMethod
from memedit.agent.completing import Endpoint, Steps
from memedit.agent.session import Lookup
from memedit.agent.trace import Ended, Trace
from memedit.errors import MemeditError, UpstreamTimeout
from memedit.routing import NeedUpstream, RouteQuery
from memedit.routing.answering import Answered
from memedit.routing.steps import Need
from memedit.routing.wire.own import TokenUsage
from memedit.types import ScopeDecision, Surface

T = TypeVar("T")
TIMEOUT = "timeout"
"""The failure of a question that took too long."""


class AgentAnswerer:
    """Answers with a multi-hop method.  Immutable; one serves many questions at once.

    Args:
        method: decomposes and concludes.
        surface: whether transcripts are continued as plain text, or as a chat's user turn.
        max_tokens: of one call.
        timeout: seconds for a question with all its calls.
        clock: tells the seconds.

    """

    def __init__(
        self,
        method: AgentMethod,
        *,
        surface: Surface = Surface.COMPLETION,
        max_tokens: int = 160,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.method = method
        self.surface = surface
        self.max_tokens = max_tokens
        self.timeout = timeout
        self._clock = clock

    @property
    def name(self) -> str:
        """The registry name of the method."""
        return self.method.registered_name

    def answer(self, query: RouteQuery, model: str | None) -> Generator[Need, Any, Answered]:
        """Answer what ``query`` asks; what goes wrong is told in the result."""
        until = self._clock() + self.timeout
        endpoint = Endpoint(model, self.surface, self.max_tokens)
        lookup = Lookup(query.namespaces, query.threshold)
        steps = self.method.answer(query.query.text, endpoint, lookup)
        trace = yield from self._in_time(steps, until)
        late = trace.ended is Ended.ENDPOINT_FAILED and self._clock() >= until
        return Answered(
            method=self.name,
            text=trace.answer,
            failure=None if trace.answer is not None else TIMEOUT if late else trace.ended.value,
            used=_used(trace),
            usage=TokenUsage(
                trace.usage.prompt_tokens, trace.usage.cached_tokens, trace.usage.completion_tokens
            ),
            model=trace.model,
            trace=_told(trace),
        )

    def _in_time(self, steps: Steps[T], until: float) -> Generator[Need, Any, T]:
        """Give every call what is left of the time; once none is left, the endpoint has failed."""
        send: Callable[[Any], Need] = steps.send
        answer: Any = None
        try:
            while True:
                need = send(answer)
                send = steps.send
                left = until - self._clock()
                try:
                    if left <= 0:
                        raise UpstreamTimeout(f"no answer within {self.timeout} s")
                    answer = yield (
                        replace(need, timeout=left) if isinstance(need, NeedUpstream) else need
                    )
                except MemeditError as error:
                    send, answer = steps.throw, error
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()


def _used(trace: Trace) -> tuple[ScopeDecision, ...]:
    """Return the judged edits that gave hops their answers, each once."""
    judged = {
        one.candidate.edit.ref: one
        for hop in trace.hops
        for one in hop.candidates
        if one.candidate.edit.ref == hop.edit
    }
    return tuple(judged[ref] for ref in trace.edits if ref in judged)


def _told(trace: Trace) -> dict[str, Any]:
    """Sum a trace up for the decision's detail: neither transcript nor candidates."""
    hops = [
        {
            "subquestion": hop.subquestion,
            "answer": hop.answer,
            "source": None if hop.source is None else hop.source.value,
            "edit": hop.edit,
        }
        for hop in trace.hops
    ]
    told = {"ended": trace.ended.value, "calls": trace.usage.calls, "hops": hops}
    return told if trace.error is None else {**told, "error": trace.error}
