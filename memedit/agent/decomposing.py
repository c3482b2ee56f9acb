"""Methods whose model takes a question apart: the loop that all of them share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from memedit.agent.base import SURE, AgentMethod, in_scope, together, withholding
from memedit.agent.completing import Steps
from memedit.agent.lines import Label, answer_of, is_unknown, one_line
from memedit.agent.session import Session
from memedit.agent.trace import Ended, Hop, Source, Trace
from memedit.agent.turn import Turn, own_answer, read_turn
from memedit.routing import Route
from memedit.types import ScopeDecision, ScopeLabel

WHOLE_QUESTION = "the model asked no subquestion: the question itself was looked up"


class Decomposing(AgentMethod):
    """The model writes the next subquestion; what edits say to it stands in the transcript."""

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
                (together(one.direct, leaned_on[one.candidate.edit.ref]), one.candidate)
                for one in named
                if one.candidate.edit.ref in leaned_on
            ),
            key=lambda pair: pair[0],
            default=(0.0, None),
        )
        if found is None or sure < SURE:
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


def _scope(route: Route) -> ScopeLabel:
    return route.considered[0].label if route.considered else ScopeLabel.UNRELATED
