"""A method's settings, made of names and values as a command line or a file has them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from memedit.errors import InvalidInputError

S = TypeVar("S")


def settings_of(kind: type[S], settings: dict[str, Any]) -> S:
    """Make a settings dataclass; a setting that is a dataclass itself takes a dict.

    Raises:
        InvalidInputError: a name that it does not have; the message lists those it has.

    """
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if strange := sorted(settings.keys() - set(known)):
        raise InvalidInputError(
            f"{kind.__name__} has no setting {', '.join(map(repr, strange))}; it has "
            f"{', '.join(known)}"
        )
    made = {
        name: _nested(kind, name, value) if isinstance(value, dict) else value
        for name, value in settings.items()
    }
    try:
        return kind(**made)
    except TypeError as error:  # a text compared with a number, in a check of the settings
        raise InvalidInputError(f"{kind.__name__} cannot be made of {settings}: {error}") from error


def _nested(kind: type[Any], name: str, value: dict[str, Any]) -> Any:
    """Make a setting that has settings of its own of names and values."""
    default: Any = getattr(kind(), name)
    if not is_dataclass(default):
        raise InvalidInputError(f"the setting {name!r} of {kind.__name__} has no settings in it")
    known = [f.name for f in fields(default)]
    if strange := sorted(value.keys() - set(known)):
        raise InvalidInputError(
            f"{name} has no setting {', '.join(map(repr, strange))}; it has {', '.join(known)}"
        )
    made: Any = replace(default, **value)  # type: ignore[type-var]
    return made
