"""A known decomposition played to an agent: a model that is no model, for measuring the rest.

The script asks the right subquestions and knows the right answers of an unedited world; it judges
perfectly, and reads answers without slips.  What then goes wrong is retrieval and scope.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from memedit.agent.lines import Label, Line, answer_of, closed, read_lines
from memedit.errors import InvalidInputError
from memedit.routing import NeedUpstream, UpstreamReply


@dataclass(frozen=True, slots=True)
class ScriptedHop:
    """A subquestion, and what a model without edits answers."""

    subquestion: str
    own: str


AnswerInFact = Callable[[str, ScriptedHop], str | None]
"""What a fact says in answer to a hop's subquestion; ``None`` if it is about something else."""


@dataclass(frozen=True, slots=True)
class ReplayedModel:
    """Says the next lines of each script; the endpoint's ``model`` names the script.

    Stateless: where a transcript stands is read off its lines.
    """

    scripts: Mapping[str, Sequence[ScriptedHop]]
    answer_in: AnswerInFact

    def complete(self, steps: Sequence[NeedUpstream]) -> list[UpstreamReply]:
        """Answer a batch of completion requests."""
        return [self._reply(step) for step in steps]

    def _reply(self, step: NeedUpstream) -> UpstreamReply:
        body = json.loads(step.body)
        script = self.scripts.get(body.get("model"))
        if script is None or not isinstance(body.get("prompt"), str):
            raise InvalidInputError(
                f"got a request for model {body.get('model')!r}; expected a completion of one of "
                f"{len(self.scripts)} scripts"
            )
        choice = {"text": self.say(script, body["prompt"]), "finish_reason": "stop"}
        return UpstreamReply(200, json.dumps({"choices": [choice]}).encode())

    def say(self, script: Sequence[ScriptedHop], transcript: str) -> str:
        """Return what comes behind ``transcript``."""
        lines = read_lines(transcript)
        asked = sum(line.label is Label.SUBQUESTION for line in lines)
        last = lines[-1]
        if last.label is Label.ENTITY and not last.text:
            return ""
        if last.label is Label.GENERATED and not last.text:
            return f" {closed(script[asked - 1].own)}"
        said = []
        answer = _last_answer(lines)
        if last.label is Label.FACT:
            hop = script[asked - 1]
            told = self.answer_in(last.text, hop)
            contradicts = told is not None and told != hop.own
            answer = told if told is not None and contradicts else hop.own
            label = Label.CONTRADICTS if contradicts else Label.AGREES
            said.append(Line(label, closed(answer)))
        elif last.label is Label.GENERATED:
            answer = self.answer_in(last.text, script[asked - 1]) or answer_of(last.text)
            said.append(Line(Label.READ, closed(answer)))
        if asked < len(script):
            hop = script[asked]
            said.append(Line(Label.SUBQUESTION, hop.subquestion))
            said.append(Line(Label.GENERATED, closed(hop.own)))
        else:
            said.append(Line(Label.FINAL, closed(answer)))
        return "".join(f"\n{line}" for line in said)


def _last_answer(lines: Sequence[Line]) -> str:
    given = (Label.READ, Label.AGREES, Label.CONTRADICTS)
    answers = [answer_of(line.text) for line in lines if line.label in given]
    return answers[-1] if answers else ""
