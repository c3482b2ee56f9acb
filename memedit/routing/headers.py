"""Routes summed up as response headers: ASCII, one line each, of bounded length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from memedit.routing.route import Route
from memedit.types import Action

ROUTE = "x-memedit-route"
REASON = "x-memedit-reason"
EDITS = "x-memedit-edits"
METHOD = "x-memedit-method"
NOTE = "x-memedit-note"
DETAIL = "x-memedit-detail"
GUARD = "x-memedit-guard"
ADAPTER = "x-memedit-adapter"

MAX_LIST = 1_024
"""Longest list in a header, in characters; what is left out shows as ``...``."""
MAX_DETAIL = 4_096
_TEXT_IN_DETAIL = 200


def response_headers(routes: Sequence[Route], *, note: str | None, detail: bool) -> dict[str, str]:
    """Sum up the routes of one request; of a batch, each value once, in the order of prompts."""
    headers = {
        ROUTE: _listed(route.action.value for route in routes),
        REASON: _listed(route.reason.value for route in routes),
    }
    edits = _listed(ref for route in routes for ref in route.edit_ids)
    telling = [route for route in routes if route.in_context or route.action is Action.AGENT]
    methods = _listed(route.method for route in telling if route.method)
    adapters = _listed(route.adapter for route in routes if route.adapter)
    said = (note, *(one for route in routes for one in (route.note or "").split(",")))
    notes = _listed(part for part in said if part)
    for name, value in ((EDITS, edits), (METHOD, methods), (ADAPTER, adapters), (NOTE, notes)):
        if value:
            headers[name] = value
    if detail:
        headers[DETAIL] = _detail(routes)
    return headers


def _listed(values: Iterable[str]) -> str:
    text, room = "", MAX_LIST - len(",...")
    for value in dict.fromkeys(map(_plain, values)):
        longer = f"{text},{value}" if text else value
        if len(longer) > room:
            return f"{text},..." if text else "..."
        text = longer
    return text


def _plain(value: str) -> str:
    """Replace what may not stand in a header's list: controls, other scripts, the separator."""
    return "".join(c if " " <= c <= "~" and c != "," else "?" for c in value)


def _detail(routes: Sequence[Route]) -> str:
    """Write the whole decisions as compact JSON; shortened until they fit, and then saying so."""
    whole = [route.to_dict() for route in routes]
    text = _compact({"routes": whole})
    for kept, texts in ((5, 10_000), (5, _TEXT_IN_DETAIL), (2, 80), (1, 40), (0, 0)):
        if len(text) <= MAX_DETAIL:
            return text
        shorter = [_shortened(route, kept, texts) for route in whole]
        text = _compact({"routes": shorter, "truncated": True})
    while len(text) > MAX_DETAIL:
        shorter = shorter[: len(shorter) // 2]
        text = _compact({"routes": shorter, "truncated": True})
    return text


def _shortened(route: dict[str, Any], kept: int, texts: int) -> dict[str, Any]:
    considered = [
        {**one, "statement": one["statement"][:texts], "matched": one["matched"][:texts]}
        for one in route["considered"][:kept]
    ]
    agent = route["agent"] if texts > 80 else None  # its hops are cut together or not at all
    return {
        **route,
        "edits": route["edits"][:16],
        "considered": considered,
        "left_out": route["left_out"][:kept],
        "agent": agent,
    }


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
