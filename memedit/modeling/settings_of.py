"""A method's settings, made of names and values as a command line or a file has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from memedit.errors import InvalidInputError, SettingsError

S = TypeVar("S")


def settings_of(
    kind: type[S], settings: dict[str, Any], method: str, beside: Sequence[str] = ()
) -> S:
    """Make a settings dataclass; a setting that is a dataclass itself takes a dict.

    Args:
        kind: the dataclass.
        settings: values by name; what is left out has its default.
        method: whose settings they are, for errors: what a user calls it.
        beside: settings that the caller takes itself, for the list of those that there are.

    Raises:
        SettingsError: a name that it does not have (the message lists those it has), a value of
            another type, or one that the method refuses.

    """
    default: Any = kind()
    try:
        made: S = _set(default, settings, method, beside)
    except SettingsError:
        raise
    except InvalidInputError as error:  # what the dataclass itself checks
        raise SettingsError(f"{method}: {error}") from error
    return made


def _set(default: Any, values: dict[str, Any], owner: str, beside: Sequence[str] = ()) -> Any:
    """Return a dataclass with some of its fields set; ``owner`` is ``rome``, ``rome: search``."""
    known = [f.name for f in fields(default)]
    if strange := sorted(values.keys() - set(known)):
        raise SettingsError(
            f"{owner} has no setting {', '.join(map(repr, strange))}; it has "
            f"{', '.join((*known, *beside))}"
        )
    try:
        hints = get_type_hints(type(default))
    except NameError:  # of another distribution, with names that only its type checker knows
        hints = {}
    made = {
        name: _one(getattr(default, name), hints.get(name, Any), value, owner, name)
        for name, value in values.items()
    }
    return replace(default, **made)


def _one(default: Any, hint: Any, value: Any, owner: str, name: str) -> Any:
    if isinstance(value, dict) and is_dataclass(default):
        return _set(default, value, f"{owner}: {name}")
    if isinstance(value, dict):
        raise SettingsError(f"{owner}: the setting {name!r} has no settings in it")
    if is_dataclass(default):
        known = ", ".join(f"{name}.{f.name}" for f in fields(default))
        raise SettingsError(f"{owner}: {name} has settings of its own, one by one: {known}")
    try:
        read = TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise SettingsError(f"{owner}: {name} cannot be {value!r}: {why}") from None
    return value if read == value else read  # 1 stays 1 where 1.0 would do: messages show it
