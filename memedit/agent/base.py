"""What a multi-hop method promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from memedit.agent.completing import Endpoint, Steps
from memedit.agent.demonstrations import check_demonstrations, shipped_demonstrations
from memedit.agent.lines import Label, one_line
from memedit.agent.session import Lookup, Session
from memedit.agent.trace import Ended, Trace
from memedit.errors import InvalidInputError, MemeditError, MemoryFailure
from memedit.routing import Route
from memedit.types import Operation, ScopeDecision, ScopeLabel

MOST_HOPS = 32
SURE = 0.5
"""What question and description have to say ``together`` for an edit to answer."""


class AgentMethod(ABC):
    """A way to answer a question hop by hop.  Immutable; one serves many questions at once.

    Args:
        max_hops: subquestions that are followed at most; ``None`` is the method's own default.
        demonstrations: the text that stands in front of every question; ``None`` is the shipped
            one, an empty text none at all (for a model that was trained on transcripts).

    Raises:
        InvalidInputError: a limit that is none, or demonstrations that show another form.

    """

    registered_name: ClassVar[str]
    default_hops: ClassVar[int]
    stop: ClassVar[tuple[str, ...]]
    """Where the model's turn ends, because the next line is ours to write."""
    shown: ClassVar[tuple[Label, ...]]
    """The lines that demonstrations must show."""

    def __init__(self, *, max_hops: int | None = None, demonstrations: str | None = None) -> None:
        self.max_hops = self.default_hops if max_hops is None else max_hops
        if not 1 <= self.max_hops <= MOST_HOPS:
            raise InvalidInputError(f"got max_hops {max_hops}; expected 1 to {MOST_HOPS}")
        if demonstrations is None:
            demonstrations = shipped_demonstrations(self.registered_name)
        if demonstrations.strip():
            check_demonstrations(demonstrations, self.shown, "the text of demonstrations")
        self.demonstrations = demonstrations

    def answer(
        self, question: str, endpoint: Endpoint, lookup: Lookup | None = None
    ) -> Steps[Trace]:
        """Answer one question: pure work that asks its driver for completions and decisions.

        Whatever goes wrong with the endpoint or the memory ends the question and stands in its
        trace; an answer that was reached without them would be silently wrong.

        Raises:
            InvalidInputError: the question is empty.

        """
        if not question.strip():
            raise InvalidInputError("got an empty question; expected one in words")
        session = Session(one_line(question), endpoint, lookup or Lookup(), self.demonstrations)
        session.write(Label.QUESTION, question)
        try:
            session.endpoint = yield from endpoint.named()
            return (yield from self._loop(session))
        except MemoryFailure as error:
            return session.end(self.registered_name, Ended.MEMORY_FAILED, error=str(error))
        except MemeditError as error:
            return session.end(self.registered_name, Ended.ENDPOINT_FAILED, error=str(error))

    @abstractmethod
    def _loop(self, session: Session) -> Steps[Trace]:
        """Take hops until there is an answer, or none to be had."""

    def _end(
        self, session: Session, ended: Ended, answer: str | None = None, error: str | None = None
    ) -> Trace:
        if answer is None and error is None:
            error = {
                Ended.CUT_OFF: f"the model was cut off after {session.endpoint.max_tokens} tokens",
                Ended.NO_NEXT_STEP: "the model wrote neither a subquestion nor a final answer",
                Ended.REPEATED: "the model asked the same subquestion again",
                Ended.UNKNOWN_HOP: "the model does not know the answer to the last subquestion",
                Ended.HOP_LIMIT: f"no final answer after {self.max_hops} hops",
            }.get(ended, ended.value)
        if ended is Ended.FINAL_ANSWER and answer is not None:
            session.write(Label.FINAL, answer)
        return session.end(self.registered_name, ended, answer, error)


def together(one: float, other: float) -> float:
    """Return the probability of what two witnesses say who know nothing of each other."""
    both, neither = one * other, (1.0 - one) * (1.0 - other)
    return both / (both + neither) if both + neither > 0 else 0.0


def in_scope(route: Route) -> ScopeDecision | None:
    """Return the edit that answers what was asked, most probable first, if one does."""
    return next((one for one in route.applied if one.label is ScopeLabel.DIRECT), None)


def withholding(route: Route) -> ScopeDecision | None:
    """Return the edit that answers what was asked if it is an erasure."""
    found = in_scope(route)
    return found if found is not None and erases(found) else None


def erases(found: ScopeDecision) -> bool:
    """Tell whether an edit withholds its answer."""
    return found.candidate.edit.request.operation is Operation.ERASE
