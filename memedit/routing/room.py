"""How much a served model's context still holds: so that demonstrations never overflow it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from memedit.errors import UpstreamError
from memedit.incontext.base import estimated_tokens
from memedit.routing.steps import NeedUpstream, UpstreamReply
from memedit.routing.wire.base import Prompt, TokenPrompt

_ANSWERS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_SHARE_OF_ANSWER = 4
"""Where a request limits no answer, one part in so many of the context is kept for it."""


def served_context(model: object) -> Generator[NeedUpstream, UpstreamReply, int | None]:
    """Ask the upstream how many tokens ``model`` takes; none where it does not say.

    vLLM, SGLang and memedit's engine tell it as ``max_model_len``.  Of a model that is not listed,
    or says nothing (a LoRA), the shortest of all counts.
    """
    try:
        reply = yield NeedUpstream("GET", "/v1/models", b"")
        cards = json.loads(reply.body)["data"] if reply.status == 200 else []
        lengths = {card["id"]: card.get("max_model_len") for card in cards}
    except (UpstreamError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if _is_length(lengths.get(model)):
        return int(lengths[model])
    return min((int(length) for length in lengths.values() if _is_length(length)), default=None)


def room_left(context: int, body: Mapping[str, Any], prompt: Prompt, inserted: str) -> int:
    """Estimate how many tokens of ``context`` a request leaves, rather too few.

    Args:
        context: tokens that the model takes, answer included.
        body: the parsed request.
        prompt: the one of its prompts that is written into.
        inserted: what is written into it at any rate.

    """
    limits = [body[name] for name in _ANSWERS if _is_length(body.get(name))]
    answer = max(limits, default=context // _SHARE_OF_ANSWER)
    if isinstance(prompt, TokenPrompt):
        length = len(prompt.place.tokens)
    else:
        path = prompt.place.path
        asked: Any = body
        # a completions batch is one context per prompt, anything else is all of one
        for step in path if path[:1] == ("prompt",) else ():
            asked = asked[step]
        length = estimated_tokens(asked if isinstance(asked, str) else json.dumps(asked))
    return context - answer - length - estimated_tokens(inserted)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
