"""MeLLo: the model answers by itself, and judges the nearest edit against its answer."""

from __future__ import annotations

from typing import ClassVar

from memedit.agent.completing import Steps
from memedit.agent.decomposing import Decomposing
from memedit.agent.lines import Label, answer_of
from memedit.agent.session import Session
from memedit.agent.trace import Source
from memedit.agent.turn import Turn
from memedit.incontext.fact import sentence
from memedit.registry import register
from memedit.routing import Route
from memedit.types import ScopeDecision


@register("mello")
class Mello(Decomposing):
    """Each round: a subquestion, the model's own answer, the nearest edit, the model's verdict.

    The nearest edit is shown whether it is in scope or not; that it is beside the point is for
    the model to see.  The one exception are erased facts that the scope classifier finds asked
    for: they end the question.

    Source: Zhong et al. 2023, "MQuAKE: Assessing Knowledge Editing in Language Models via
    Multi-Hop Questions", section 5.
    """

    default_hops: ClassVar[int] = 4
    stop: ClassVar[tuple[str, ...]] = ("\nRetrieved fact:", "\nQuestion:")
    shown: ClassVar[tuple[Label, ...]] = (
        Label.QUESTION,
        Label.SUBQUESTION,
        Label.GENERATED,
        Label.FACT,
        Label.CONTRADICTS,
        Label.AGREES,
        Label.FINAL,
    )

    def hop(self, session: Session, turn: Turn, route: Route) -> Steps[bool]:
        """Write the model's answer and the nearest edit; the verdict comes with the next turn."""
        generated = turn.generated
        if generated is None:
            generated = yield from self.own_answer(session)
        if generated is None:
            return False
        session.write(Label.GENERATED, generated)
        nearest = _nearest(route)
        if nearest is None:  # nothing to compare with
            session.write(Label.AGREES, generated)
            session.settle(generated=generated, answer=answer_of(generated), source=Source.MODEL)
            return True
        edit = nearest.candidate.edit
        fact = sentence(edit)
        session.write(Label.FACT, fact)
        session.settle(generated=generated, edit=edit.ref, fact=fact, scope=nearest.label)
        return True

    def conclude(self, session: Session, turn: Turn) -> None:
        """Take the model's verdict about the fact; one that it did not give is left out."""
        verdict = turn.conclusion
        if verdict is None or verdict.label is Label.READ or session.hops[-1].answer is not None:
            return
        conflict = verdict.label is Label.CONTRADICTS
        session.write(verdict.label, verdict.text)
        session.settle(
            conflict=conflict,
            answer=answer_of(verdict.text) or None,
            source=Source.MODEL_WITH_EDIT if conflict else Source.MODEL,
        )


def _nearest(route: Route) -> ScopeDecision | None:
    """Return the most similar edit that no other one speaks for; of equal ones the newest."""
    silent = {one.edit for one in route.left_out}
    return max(
        (one for one in route.considered if one.candidate.edit.ref not in silent),
        key=lambda one: (one.candidate.similarity, one.candidate.edit.created_at),
        default=None,
    )
