"""PokeMQA: the model only decomposes; a scope detector decides whether an edit answers a hop."""

from __future__ import annotations

from typing import ClassVar

from memedit.agent.base import in_scope
from memedit.agent.completing import Steps
from memedit.agent.decomposing import Decomposing
from memedit.agent.lines import Label, answer_of, closed, read_lines
from memedit.agent.session import Session
from memedit.agent.trace import Source
from memedit.agent.turn import Turn
from memedit.incontext.fact import sentence
from memedit.incontext.inert import inert
from memedit.registry import register
from memedit.routing import Route
from memedit.types import EditRequest, ScopeLabel

OF_THE_QUESTION = "the subquestion alone did not find this edit: the whole question leans on it"
THROUGH_A_HOP = "the answer may depend on an edit through another hop, which was not asked for"


@register("pokemqa")
class Pokemqa(Decomposing):
    """Each hop: a subquestion, then the edit that is in scope, else the model's own answer.

    The detector has two stages: the search brings up candidates, the configured scope classifier
    judges each; the most probable one in scope answers the hop.  Its answer is read off the edit
    and written into the transcript, so that no model can misread it, unless the subquestion names
    that very answer and hence asks for something else.

    Source: Gu et al. 2024, "PokeMQA: Programmable knowledge editing for Multi-hop Question
    Answering", section 4.
    """

    default_hops: ClassVar[int] = 5
    stop: ClassVar[tuple[str, ...]] = ("\nGenerated answer:", "\nQuestion:")
    shown: ClassVar[tuple[Label, ...]] = (
        Label.QUESTION,
        Label.ENTITY,
        Label.SUBQUESTION,
        Label.GENERATED,
        Label.READ,
        Label.FINAL,
    )

    def begin(self, session: Session) -> Steps[None]:
        """Let the model name the key entity first (the knowledge prompt)."""
        before = session.transcript
        session.write(Label.ENTITY)
        said = yield from session.go_on(("\n",))
        session.transcript = before
        first = next((line for line in said.text.splitlines() if line.strip()), "")
        labelled = read_lines(first)
        named = labelled[0].text if labelled else first
        other = labelled and labelled[0].label is not Label.ENTITY
        session.entity = None if other or said.cut_off else answer_of(named) or None
        if session.entity is not None:
            session.write(Label.ENTITY, session.entity)

    def hop(self, session: Session, turn: Turn, route: Route) -> Steps[bool]:
        """Answer from the edit in scope, or let the model answer."""
        found = in_scope(route)
        if found is None:
            generated = yield from self.own_answer(session)
            if generated is None:
                return False
            session.write(Label.GENERATED, generated)
            depends = any(one.label is ScopeLabel.DEPENDENT for one in route.applied)
            note = THROUGH_A_HOP if depends else session.hops[-1].note
            session.settle(generated=generated, source=Source.MODEL, note=note)
            return True
        edit = found.candidate.edit
        if found not in route.considered:
            session.settle(note=OF_THE_QUESTION)
        fact = sentence(edit)
        session.write(Label.GENERATED, fact)
        session.settle(edit=edit.ref, fact=fact, scope=found.label, source=Source.MODEL_WITH_EDIT)
        if not _asks_back(turn.subquestion or "", edit.request):
            session.write(Label.READ, closed(inert(edit.request.target_new)))
            session.settle(answer=edit.request.target_new, source=Source.EDIT)
        return True

    def conclude(self, session: Session, turn: Turn) -> None:
        """Take the entity that the model named, where it was not read off an edit."""
        last = session.hops[-1]
        if last.answer is not None:
            return
        read = turn.conclusion
        if read is not None and read.label is Label.READ and read.text:
            session.write(Label.READ, read.text)
            session.settle(answer=answer_of(read.text))
        elif last.generated is not None:
            session.settle(answer=answer_of(last.generated))


def _asks_back(subquestion: str, request: EditRequest) -> bool:
    """Tell whether a question names an edit's answer but not its subject: it asks the inverse."""
    asked = subquestion.casefold()
    names = (request.subject, *request.aliases)
    subject = any(name.casefold() in asked for name in names)
    return request.target_new.casefold() in asked and not subject
