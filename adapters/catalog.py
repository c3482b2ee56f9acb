"""The adapters, by name."""

from __future__ import annotations

from typing import Any, Final

from memedit.adapters.base import Adapter
from memedit.errors import SettingsError
from memedit.modeling.settings_of import settings_of
from memedit.registry import Registry

ADAPTERS: Final[Registry[Adapter[Any]]] = Registry(
    kind="adapter",
    package="memedit.adapters",
    base=Adapter,  # type: ignore[type-abstract]  # a base is only compared with
    group="memedit.adapters",
)


def open_adapter(name: str, settings: dict[str, Any] | None = None, **forms: Any) -> Adapter[Any]:
    """Make an empty adapter of the method called ``name``.

    Args:
        name: the registry's, e.g. ``grace``.
        settings: fields of its config, and ``ends``; what is left out has its default.
        forms: ``prompt_form``, ``target_form``, ``ends``, as ``Adapter`` takes them.

    Raises:
        UnknownNameError: no method of that name.
        SettingsError: a setting that it does not have, or a value that cannot be.

    """
    kind = ADAPTERS.get(name)
    own = dict(settings or {})
    if "ends" in own:
        forms["ends"] = own.pop("ends")
        if not isinstance(forms["ends"], bool):
            raise SettingsError(f"{name}: ends is {forms['ends']!r}; expected true or false")
    return kind(settings_of(kind.config_type, own, name, ("ends",)), **forms)
