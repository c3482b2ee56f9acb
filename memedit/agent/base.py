"""What a multi-hop method promises, and the loop that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

from memedit.agent.completing import Endpoint, Steps
from memedit.agent.demonstrations import check_demonstrations, shipped_demonstrations
from memedit.agent.lines import Label, answer_of, is_unknown, one_line
from memedit.agent.session import Lookup, Session
from memedit.agent.trace import Ended, Hop, Source, Trace
from memedit.agent.turn import Turn, own_answer, read_turn
from memedit.errors import InvalidInputError, MemeditError, MemoryFailure
from memedit.routing import Route
from memedit.types import Operation, ScopeDecision, ScopeLabel

MOST_HOPS = 32
WHOLE_QUESTION = "the model asked no subquestion: the question itself was looked up"


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

    def _loop(self, session: Session) -> Steps[Trace]:
        yield from self.begin(session)
        while True:
            said = yield from session.go_on(self.stop)
            turn = read_turn(said)
            if session.hops:
                self.conclude(session, turn)
                last = session.hops[-1]
                if last.source is not Source.EDIT and is_unknown(last.answer or ""):
                    return self._end(session, Ended.UNKNOWN_HOP)
                if turn.final is not None:
                    return self._end(session, Ended.FINAL_ANSWER, answer_of(turn.final))
            elif turn.final is not None:
                # an answer without any look-up would leave all edits out of it
                turn = Turn(subquestion=session.question, generated=turn.final)
            ended = self._obstacle(session, turn, said.cut_off)
            if ended is not None:
                return self._end(session, ended)
            subquestion = one_line(turn.subquestion or "")
            session.write(Label.SUBQUESTION, subquestion)
            route = yield from session.look_up(subquestion)
            note = WHOLE_QUESTION if subquestion == session.question else None
            session.hops.append(
                Hop(subquestion, route.considered, route.left_out, scope=_scope(route), note=note)
            )
            route = yield from self._with_the_question(session, route)
            erased = withholding(route)
            if erased is not None:
                edit = erased.candidate.edit
                answer = edit.request.target_new
                session.settle(edit=edit.ref, answer=answer, source=Source.EDIT)
                return self._end(session, Ended.WITHHELD, answer)
            settled = yield from self.hop(session, turn, route)
            if not settled:
                cut = "the model gave no whole answer of its own to the last subquestion"
                return self._end(session, Ended.NO_NEXT_STEP, error=cut)

    def _with_the_question(self, session: Session, route: Route) -> Steps[Route]:
        """Let a hop that no edit answers be answered by one that the whole question leans on.

        A question visits a name once, and asks one thing of it: where it leans on an edit of that
        name, the subquestion that names it is likely to ask for this edit, in whichever words the
        model chose.  What is said of the question and of the subquestion counts together, as odds.
        Looked up only where a subquestion names an edit's subject.
        """
        hop = session.hops[-1]
        named = [one for one in route.considered if one.candidate.named]
        if in_scope(route) is not None or not named or hop.subquestion == session.question:
            return route
        if session.whole is None:
            session.whole = yield from session.look_up(session.question)
        used = {one.edit for one in session.hops}
        leaned_on = {
            one.candidate.edit.ref: one.probability
            for one in session.whole.applied
            if one.label is ScopeLabel.DEPENDENT and one.candidate.edit.ref not in used
        }
        sure, found = max(
            (
                (_together(one.direct, leaned_on[one.candidate.edit.ref]), one.candidate)
                for one in named
                if one.candidate.edit.ref in leaned_on
            ),
            key=lambda pair: pair[0],
            default=(0.0, None),
        )
        if found is None or sure < 0.5:
            return route
        answering = ScopeDecision(found, ScopeLabel.DIRECT, sure, 0.0, 1.0 - sure)
        others = (one for one in route.applied if one.candidate.edit.ref != found.edit.ref)
        return replace(route, applied=(answering, *others))

    def _obstacle(self, session: Session, turn: Turn, cut_off: bool) -> Ended | None:
        """Return why the next hop cannot be taken, if it cannot."""
        if turn.subquestion is None:
            return Ended.CUT_OFF if cut_off else Ended.NO_NEXT_STEP
        if session.asked_before(turn.subquestion):
            return Ended.REPEATED
        if len(session.hops) >= self.max_hops:
            return Ended.HOP_LIMIT
        return None

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

    def begin(self, session: Session) -> Steps[None]:
        """Write what stands between the question and the first subquestion; here nothing."""
        return
        yield

    @abstractmethod
    def hop(self, session: Session, turn: Turn, route: Route) -> Steps[bool]:
        """Answer the subquestion that was just written, as far as that needs no next turn.

        Returns:
            Whether the question can go on.

        """

    @abstractmethod
    def conclude(self, session: Session, turn: Turn) -> None:
        """Complete the last hop, and the transcript, with what the model made of it."""

    def own_answer(self, session: Session) -> Steps[str | None]:
        """Let the model answer the last subquestion by itself; nothing is written."""
        before = session.transcript
        session.write(Label.GENERATED)
        try:
            said = yield from session.go_on(("\n",))
        finally:
            session.transcript = before
        return own_answer(said)


def _together(one: float, other: float) -> float:
    """Return the probability of what two witnesses say who know nothing of each other."""
    both, neither = one * other, (1.0 - one) * (1.0 - other)
    return both / (both + neither) if both + neither > 0 else 0.0


def in_scope(route: Route) -> ScopeDecision | None:
    """Return the edit that answers what was asked, most probable first, if one does."""
    return next((one for one in route.applied if one.label is ScopeLabel.DIRECT), None)


def withholding(route: Route) -> ScopeDecision | None:
    """Return the edit that answers what was asked if it is an erasure."""
    found = in_scope(route)
    erases = found and found.candidate.edit.request.operation is Operation.ERASE
    return found if erases else None


def _scope(route: Route) -> ScopeLabel:
    return route.considered[0].label if route.considered else ScopeLabel.UNRELATED
