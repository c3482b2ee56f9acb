"""What pydantic found wrong, in words that go to whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError


def faults_of(error: ValidationError, whole: str = "") -> str:
    """Say in one line what is wrong with which field; ``whole`` is what all of it is called."""
    return "; ".join(each_of(error.errors(include_input=False, include_url=False), whole))


def each_of(faults: Iterable[Mapping[str, Any]], whole: str = "") -> list[str]:
    """Say of each fault which field it is and what is wrong; what was given is not repeated.

    >>> each_of([{"type": "value_error", "loc": ("a", 1), "msg": "Value error, a is no b"}])
    ['a.1: a is no b']
    """
    return [_said(fault, whole) for fault in faults]


def _said(fault: Mapping[str, Any], whole: str) -> str:
    if fault["type"] == "json_invalid":  # pydantic's way and FastAPI's to say where
        why = fault.get("ctx", {}).get("error", fault["msg"])
        at = "".join(f" at character {one}" for one in fault["loc"] if isinstance(one, int))
        return f"{whole or 'body'}: this is no JSON ({why}{at})"
    place = ".".join(map(str, fault["loc"])) or whole
    what = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {what}" if place else what
