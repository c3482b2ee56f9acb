"""Looking edits up as a tool, for the agents of others: OpenAI's schema, and the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from memedit.agent.session import Lookup
from memedit.errors import MemeditError
from memedit.incontext.fact import sentence
from memedit.incontext.inert import inert
from memedit.routing import RouteQuery
from memedit.routing.drive import Decider
from memedit.types import Operation, QueryText, ScopeDecision, Surface

NAME = "look_up_edits"
LONGEST_QUESTION = 4_096


class EditLookup:
    """A tool that finds the edits which concern a question.

    >>> tool = memedit.agent.EditLookup(router)
    >>> sdk.chat.completions.create(..., tools=[tool.definition])
    >>> tool.call(call.function.arguments)  # the content of the tool's message

    Args:
        router: looks up and judges the edits.
        lookup: namespaces and threshold; the model that calls the tool cannot choose them.

    """

    def __init__(self, router: Decider, lookup: Lookup | None = None) -> None:
        self._router = router
        self._lookup = lookup or Lookup()

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as the chat completions API takes it; a new object every time."""
        return {
            "type": "function",
            "function": {
                "name": NAME,
                "description": (
                    "Look up facts that changed after your training. Ask one simple question "
                    "about one thing, and prefer what you find over what you remember. Split "
                    "a question that needs several facts, and look each of them up."
                ),
                "strict": True,
                "parameters": {
                    "type": "object",
                    "properties": {
                        "question": {
                            "type": "string",
                            "description": "One question about one fact, with its subject's name.",
                        }
                    },
                    "required": ["question"],
                    "additionalProperties": False,
                },
            },
        }

    def call(self, arguments: str | Mapping[str, Any]) -> str:
        """Answer one call of the tool.

        Args:
            arguments: what the model wrote, as JSON or read already.

        Returns:
            JSON: ``{"facts": [...]}``, most probable first and none where no edit concerns the
            question, or ``{"error": "..."}``, for the model to read.  Nothing is raised for what
            a model may get wrong, nor for a memory that fails: that is said, too.

        """
        question = _question(arguments)
        if question is None:
            said = (
                f'expected {{"question": "..."}} with 1 to {LONGEST_QUESTION} characters, and no '
                "other argument"
            )
            return json.dumps({"error": said})
        query = RouteQuery(
            QueryText(question), Surface.CHAT, self._lookup.namespaces, self._lookup.threshold
        )
        try:
            [route] = self._router.decide([query])
        except MemeditError:
            return json.dumps({"error": "the facts cannot be looked up at the moment"})
        return json.dumps({"facts": [_fact(one) for one in route.applied]})


def _question(arguments: str | Mapping[str, Any]) -> str | None:
    value: Any = arguments
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping) or set(value) != {"question"}:
        return None
    question = value["question"]
    if not isinstance(question, str) or len(question) > LONGEST_QUESTION:
        return None
    return question.strip() or None


def _fact(decision: ScopeDecision) -> dict[str, Any]:
    edit = decision.candidate.edit
    return {
        "fact": sentence(edit),
        "subject": inert(edit.request.subject),
        "answer": inert(edit.request.target_new),
        "withheld": edit.request.operation is Operation.ERASE,
        "scope": decision.label.value,
        "probability": round(decision.probability, 4),
        "edit": edit.ref,
    }
