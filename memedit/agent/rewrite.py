"""Rewrite: what a question describes is replaced by what edits say; the model takes no hop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from memedit.agent.base import SURE, AgentMethod, erases, in_scope, together
from memedit.agent.completing import Steps
from memedit.agent.lines import Label, answer_of, is_unknown
from memedit.agent.session import Session
from memedit.agent.trace import Ended, Hop, Source, Trace
from memedit.errors import InvalidInputError
from memedit.incontext.fact import sentence
from memedit.incontext.inert import inert
from memedit.indexes.names import names_of, words_of
from memedit.memory.relations import phrases
from memedit.registry import register
from memedit.routing import NeedRoutes, Route, RouteQuery
from memedit.scope.descriptions import cloze_of, described
from memedit.scope.pair_input import HIDDEN
from memedit.scope.subjects import find_mention
from memedit.types import EditRequest, QueryText, ScopeDecision, ScopeLabel, Surface

REWRITTEN: Final = "the question with an edit's answer in the place of what it describes"
_NOTHING_TO_REPLACE: Final = "no edit answers what the question describes"
_MOST_PHRASES: Final = 8
"""Descriptions that are looked up for one hop."""


@dataclass(frozen=True, slots=True)
class _Description:
    """What a question describes by a name, and what stands around it."""

    asked: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Described:
    """A description, and the edit that says what it is."""

    description: _Description
    route: Route
    decision: ScopeDecision


@register("rewrite")
class Rewrite(AgentMethod):
    """Each hop: a description by grammar, the edit that answers it, its answer in its place.

    "The capital of the country that Ann leads is" becomes "The capital of Chile is" where an edit
    says which country Ann leads.  What is then asked is answered by an edit, described by another
    one, or asked of the model as it stands, so that it has to recall one fact and to combine
    nothing.  Only a question whose first hop is edited can be answered, and only a form that a
    grammar knows (``scope.descriptions``, ``memory.relations``); the model needs no demonstrations.
    """

    default_hops: ClassVar[int] = 4
    stop: ClassVar[tuple[str, ...]] = ("\n",)
    shown: ClassVar[tuple[Label, ...]] = ()

    def __init__(self, *, max_hops: int | None = None, demonstrations: str | None = None) -> None:
        if demonstrations is not None and demonstrations.strip():
            raise InvalidInputError(
                "got demonstrations for 'rewrite'; expected none: it shows the model no transcript"
            )
        super().__init__(max_hops=max_hops, demonstrations="")

    def _loop(self, session: Session) -> Steps[Trace]:
        text = session.question
        while True:
            route = yield from session.look_up(text)
            found = in_scope(route)
            if found is not None:
                return self._read_off(session, text, route, found)
            described = None
            if len(session.hops) < self.max_hops:
                described = yield from self._described(session, text, route)
            if described is None:
                break
            part, edit = described.description, described.decision.candidate.edit
            if erases(described.decision):
                return self._read_off(session, part.asked, described.route, described.decision)
            self._settle(session, part.asked, described.route, described.decision)
            text = f"{part.before}{inert(edit.request.target_new)}{part.after}"
        if not session.hops:
            return self._end(session, Ended.NO_NEXT_STEP, error=_NOTHING_TO_REPLACE)
        answer = yield from self._asked(session, text)
        session.write(Label.SUBQUESTION, text)
        session.write(Label.GENERATED, answer)
        session.hops.append(
            Hop(text, route.considered, route.left_out, answer=answer or None, source=Source.MODEL)
        )
        session.settle(generated=answer or None, note=REWRITTEN)
        if not answer or is_unknown(answer):
            return self._end(session, Ended.UNKNOWN_HOP)
        return self._end(session, Ended.FINAL_ANSWER, answer)

    def _asked(self, session: Session, text: str) -> Steps[str]:
        """Ask the model what is left of the question; a question in words is a turn of a chat."""
        surface = Surface.CHAT if text.endswith("?") else session.endpoint.surface
        said = yield from replace(session.endpoint, surface=surface).complete(text, self.stop)
        session.usage += said.usage
        lines = said.text.strip().splitlines()
        return answer_of(lines[0]) if lines and not said.cut_off else ""

    def _described(self, session: Session, text: str, route: Route) -> Steps[_Described | None]:
        """Find the description that one of the edits which the question leans on answers best."""
        used = {hop.edit for hop in session.hops}
        leaned_on = [
            one
            for one in route.applied
            if one.label is ScopeLabel.DEPENDENT and one.candidate.edit.ref not in used
        ]
        asked = [
            (one, part) for one in leaned_on for part in _parts(text, one.candidate.edit.request)
        ][:_MOST_PHRASES]
        if not asked:
            return None
        lookup = session.lookup
        routes: list[Route] = yield NeedRoutes(
            tuple(
                RouteQuery(QueryText(part.asked), Surface.CHAT, lookup.namespaces, lookup.threshold)
                for _, part in asked
            )
        )
        best: _Described | None = None
        for (leaned, part), found in zip(asked, routes, strict=True):
            for one in found.considered:
                if one.candidate.edit.ref != leaned.candidate.edit.ref:
                    continue
                # both say that the description is this edit's: of the question, and of it alone
                sure = together(one.direct, leaned.probability)
                if sure >= SURE and (best is None or sure > best.decision.direct):
                    answering = ScopeDecision(
                        one.candidate, ScopeLabel.DIRECT, sure, 0.0, 1.0 - sure
                    )
                    best = _Described(part, found, answering)
        return best

    def _settle(self, session: Session, asked: str, route: Route, found: ScopeDecision) -> None:
        edit = found.candidate.edit
        fact = sentence(edit)
        session.write(Label.SUBQUESTION, asked)
        session.write(Label.GENERATED, fact)
        answer = edit.request.target_new
        session.hops.append(
            Hop(
                asked,
                route.considered,
                route.left_out,
                edit=edit.ref,
                fact=fact,
                scope=found.label,
                answer=answer,
                source=Source.EDIT,
            )
        )

    def _read_off(self, session: Session, asked: str, route: Route, found: ScopeDecision) -> Trace:
        """End with what an edit says, or says in the place of what is erased."""
        self._settle(session, asked, route, found)
        ended = Ended.WITHHELD if erases(found) else Ended.FINAL_ANSWER
        return self._end(session, ended, found.candidate.edit.request.target_new)


def _parts(text: str, request: EditRequest) -> tuple[_Description, ...]:
    """Return what a question may describe by an edit's subject: by one grammar or the other."""
    names = names_of(request.subject, request.aliases)
    found: dict[tuple[str, str], _Description] = {}
    mention = find_mention(words_of(text), names)
    if mention is not None and mention.coverage == 1:
        name = text[mention.start : mention.end]
        hidden = f"{text[: mention.start]}{HIDDEN}{text[mention.end :]}"
        for start, end in described(hidden):
            asked = cloze_of(hidden[start:end].replace(HIDDEN, name))
            around = (hidden[:start].replace(HIDDEN, name), hidden[end:].replace(HIDDEN, name))
            found.setdefault(around, _Description(asked, *around))
    for phrase in phrases(text, names):
        around = (text[: phrase.start], text[phrase.end :])
        found.setdefault(around, _Description(cloze_of(phrase.text), *around))
    return tuple(found.values())
