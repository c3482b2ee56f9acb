"""Which wire format a request speaks."""

from __future__ import annotations

from memedit.routing.wire.base import WireFormat
from memedit.routing.wire.chat import ChatCompletions
from memedit.routing.wire.completions import Completions
from memedit.routing.wire.messages import Messages
from memedit.routing.wire.responses import Responses

WIRE_FORMATS: tuple[WireFormat, ...] = (
    ChatCompletions(),
    Completions(),
    Responses(),
    Messages(),
)


def wire_for(method: str, path: str) -> WireFormat | None:
    """Return the wire format of a request, or none where no prompt is to be read.

    Args:
        method: the HTTP method.
        path: the path without its query string; a base path in front of ``/v1`` is allowed.

    """
    if method.upper() != "POST":
        return None
    return next((wire for wire in WIRE_FORMATS if path.endswith(wire.path)), None)
