"""What a client may ask of memedit for one request, in its headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from memedit.errors import InvalidInputError
from memedit.types import DEFAULT_NAMESPACE

BYPASS = "x-memedit-bypass"
NAMESPACE = "x-memedit-namespace"
THRESHOLD = "x-memedit-threshold"
DETAIL = "x-memedit-detail"

MAX_NAMESPACES = 32
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_SWITCH = {"1": True, "true": True, "0": False, "false": False}

HeaderText = str | bytes
Headers = Mapping[str, str] | Iterable[tuple[HeaderText, HeaderText]]


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How one request wants to be treated."""

    bypass: bool = False
    """Nothing of the request is read; it passes."""
    namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    """Where edits are looked for; where two edits disagree, the earlier namespace wins."""
    threshold: float | None = None
    """Probability from which an edit fires, in [0, 1]; none: the classifier's own."""
    detail: bool = False
    """Whether the whole decision goes into a response header."""

    @classmethod
    def from_headers(
        cls, headers: Headers, *, namespaces: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    ) -> RequestOptions:
        """Read the options from request headers (names in any case; ASGI's bytes pairs too).

        Args:
            headers: a mapping, or name and value pairs.
            namespaces: used when the request names none.

        Raises:
            InvalidInputError: names the header, what it said and what it may say.

        """
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            key = _text(name).lower()
            if key in (BYPASS, NAMESPACE, THRESHOLD, DETAIL):
                given.setdefault(key, []).append(_text(value).strip())
        return cls(
            bypass=_switch(BYPASS, given),
            namespaces=_namespaces(given) or namespaces,
            threshold=_threshold(given),
            detail=_switch(DETAIL, given),
        )


def _text(value: HeaderText) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _switch(name: str, given: Mapping[str, list[str]]) -> bool:
    values = given.get(name)
    if values is None:
        return False
    on = {_SWITCH.get(value.lower()) for value in values}
    if len(on) != 1 or None in on:
        raise InvalidInputError(
            f"header {name}: got {_shown(values)}, expected 1, true, 0 or false"
        )
    return on == {True}


def _namespaces(given: Mapping[str, list[str]]) -> tuple[str, ...]:
    if NAMESPACE not in given:
        return ()
    names = [name.strip() for value in given[NAMESPACE] for name in value.split(",")]
    if not all(_NAMESPACE.fullmatch(name) for name in names) or len(names) > MAX_NAMESPACES:
        raise InvalidInputError(
            f"header {NAMESPACE}: got {_shown(given[NAMESPACE])}, expected 1 to {MAX_NAMESPACES} "
            "namespaces, separated by commas: each starts with a letter or digit, goes on with "
            "letters, digits and . _ : / -, and has at most 128 characters"
        )
    return tuple(dict.fromkeys(names))


def _threshold(given: Mapping[str, list[str]]) -> float | None:
    values = given.get(THRESHOLD)
    if values is None:
        return None
    try:
        (value,) = {float(text) for text in values}
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise InvalidInputError(
            f"header {THRESHOLD}: got {_shown(values)}, expected one number from 0 to 1"
        )
    return value


def _shown(values: list[str]) -> str:
    """Quote what was got, in ASCII and bounded length: it goes back to the client."""
    text = ", ".join(ascii(value) for value in values)
    return text if len(text) <= 120 else f"{text[:117]}..."
