"""Answering a prompt that depends on edits through another hop, in the place of the model.

The plan of a request hands such a prompt to an answerer, which asks the upstream whatever it needs
through the same driver.  What it cannot answer gets its edits in the context, as without it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from memedit.routing.apply import Readable
from memedit.routing.headers import response_headers
from memedit.routing.options import RequestOptions
from memedit.routing.route import Route, RouteQuery, joined
from memedit.routing.steps import Need, OwnAnswer, Prepared
from memedit.routing.wire.base import Prompt, TextPrompt, WireFormat
from memedit.routing.wire.chat import ChatCompletions
from memedit.routing.wire.choices import ChoiceAnswers
from memedit.routing.wire.completions import Completions
from memedit.routing.wire.document import Path
from memedit.routing.wire.own import NOTHING_SPENT, Said, TokenUsage, spoken
from memedit.scope.query import leans
from memedit.types import Action, ScopeDecision, ScopeLabel, Surface

FAILED: Final = "agent-failed"
"""Begins a note: no answer came of it; behind a colon stands why."""
UNFIT: Final = "agent-unfit"
"""Begins a note: the request asks for what an agent cannot give; behind a colon stands what."""
LONGEST_QUESTION: Final = 1_000
"""In characters; beyond it a prompt is more than a question."""

# What else than one text a request may ask for, or say beside words.
_ASKS_FOR_MORE: Final = (
    *("tools", "functions", "response_format", "structured_outputs", "guided_json"),
    *("guided_regex", "guided_choice", "guided_grammar", "echo", "suffix", "logprobs"),
    *("prompt_logprobs", "return_token_ids", "audio", "use_beam_search"),
)
_TEXT_PARTS: Final = frozenset({"text", "input_text"})


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a question."""

    method: str
    text: str | None = None
    """The answer; ``None``: there is none."""
    failure: str | None = None
    """Why there is none, in a word for headers and logs."""
    used: tuple[ScopeDecision, ...] = ()
    """The edits that the answer leans on, each once."""
    usage: TokenUsage = NOTHING_SPENT
    """Of all calls together."""
    model: str | None = None
    trace: Mapping[str, Any] | None = None
    """What was done, hop by hop, JSON-ready."""


class Answerer(Protocol):
    """Answers questions that lean on several facts; wired in from the room of agents."""

    @property
    def name(self) -> str:
        """The registry name of its method."""

    def answer(self, query: RouteQuery, model: str | None) -> Generator[Need, Any, Answered]:
        """Answer what ``query`` asks, with its namespaces and threshold.

        ``model`` is asked on the way; ``None``: the first that the upstream lists.  Whatever goes
        wrong is told in the result; nothing is raised.
        """


def answered(
    answerer: Answerer,
    wire: WireFormat,
    body: bytes,
    value: Mapping[str, Any],
    readable: Sequence[Readable],
    asked: Sequence[RouteQuery],
    routes: list[Route],
    options: RequestOptions,
) -> Generator[Need, Any, Prepared | list[Route]]:
    """Have a request answered if its only prompt depends on edits, and on nothing else.

    Returns:
        What is sent back instead of the upstream's answer; or the routes as they stay, with a
        note where an answer was wanted and there is none.

    """
    if not any(map(_depends, routes)):
        return routes
    unfit = _unfit(wire, value, readable, routes)
    if unfit is not None:
        return [_noted(route, f"{UNFIT}:{unfit}") if _depends(route) else route for route in routes]
    [route], [one], [query] = routes, readable, asked
    model = value.get("model")
    outcome = yield from answerer.answer(query, model if isinstance(model, str) else None)
    if outcome.text is None or not outcome.used:
        # an answer that leans on no edit is what the model would have said without them
        why = outcome.failure or "no-edit-used"
        return [replace(_noted(route, f"{FAILED}:{why}"), agent=outcome.trace)]
    route = replace(
        route,
        action=Action.AGENT,
        method=outcome.method,
        applied=outcome.used,
        agent=outcome.trace,
    )
    answers = wire.answers
    if not isinstance(answers, ChoiceAnswers):
        raise TypeError(f"{wire.name} answers without choices; _unfit lets none of these through")
    text = outcome.text if answers.chat else _continuing(value, one) + outcome.text
    said = Said(text, outcome.model, outcome.usage)
    return Prepared(
        body,
        (route,),
        headers=response_headers([route], note=None, detail=options.detail),
        answer=OwnAnswer(*spoken(said, value, chat=answers.chat)),
    )


def foreseen(
    method: str | None,
    asked: str | Sequence[Mapping[str, Any]],
    query: RouteQuery,
    route: Route,
) -> Route:
    """Return the route that a prompt would take, without asking any model.

    What a plan decides before its answerer is asked: whether the agent comes to an answer, and by
    which edits, only shows then.  Where it does not, the edits go into the context.

    Args:
        method: the agent's; ``None``: nothing answers in the model's place.
        asked: a text, or a conversation, with nothing else in the request.
        query: what is read of it.
        route: what the router decided.

    """
    if method is None or not _depends(route):
        return route
    wire: WireFormat = ChatCompletions()
    if not isinstance(asked, str):
        value: dict[str, Any] = {"messages": list(asked)}
    elif query.surface is Surface.CHAT:
        value = {"messages": [{"role": "user", "content": asked}]}
    else:
        wire, value = Completions(), {"prompt": asked}
    readable = [Readable(prompt, query.query) for prompt in wire.read(value)]
    unfit = _unfit(wire, value, readable, [route])
    if unfit is not None:
        return _noted(route, f"{UNFIT}:{unfit}")
    return replace(route, action=Action.AGENT, method=method)


def _depends(route: Route) -> bool:
    """Tell whether edits concern a prompt, all of them through another hop."""
    return (
        route.action is Action.IN_CONTEXT
        and bool(route.applied)
        and all(one.label is ScopeLabel.DEPENDENT for one in route.applied)
    )


def _unfit(
    wire: WireFormat,
    value: Mapping[str, Any],
    readable: Sequence[Readable],
    routes: Sequence[Route],
) -> str | None:
    """Return what keeps an agent from answering a request, if anything does."""
    if not isinstance(wire.answers, ChoiceAnswers):
        return wire.name
    if len(readable) != 1:
        return "batch"
    prompt, query = readable[0].prompt, readable[0].query
    if not isinstance(prompt, TextPrompt):
        return "token-ids"
    if any(value.get(name) not in (None, 1) for name in ("n", "best_of")):
        return "n"
    more = asks_for_more(value)
    if more is not None:
        return more
    if len(query.text) > LONGEST_QUESTION:
        return "long"
    if leans(query):
        return "earlier-turns"
    if prompt.place.path[0] == "messages":
        if prompt.place.path[1] != len(value["messages"]) - 1:
            return "continues"
        if has_more_than_text(value, prompt):
            return "parts"
    return "erasure" if routes[0].erasures else None  # the model's answer can be watched, ours not


def _given(asked: Any) -> bool:
    """Tell whether a field says something.  By identity: 0 asks for log-probabilities too."""
    if isinstance(asked, Mapping) and asked.get("type") == "text":
        return False  # a response_format that asks for plain text
    return asked is not None and asked is not False and asked not in ("", [])


def asks_for_more(value: Mapping[str, Any]) -> str | None:
    """Return the field by which a body asks for more than one text in words, if there is one."""
    return next((name for name in _ASKS_FOR_MORE if _given(value.get(name))), None)


def has_more_than_text(value: Mapping[str, Any], prompt: Prompt) -> bool:
    """Tell whether beside the asked text of a chat stand images or the like."""
    if prompt.place.path[0] not in ("messages", "input") or len(prompt.place.path) < 3:
        return False
    content = _at(value, prompt.place.path[:3])
    parts = content if isinstance(content, list) else []
    return any(
        not isinstance(part, str) and part.get("type", "text") not in _TEXT_PARTS for part in parts
    )


def _continuing(value: Mapping[str, Any], one: Readable) -> str:
    """Return what stands between a text that is continued and its continuation."""
    text = _at(value, one.prompt.place.path)
    return "" if isinstance(text, str) and text[-1:].isspace() else " "


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _noted(route: Route, note: str) -> Route:
    return replace(route, note=joined(route.note, note))
