"""The baked methods, by name."""

from __future__ import annotations

from typing import Any, Final

from memedit.editing.base import Editor
from memedit.modeling.settings_of import settings_of
from memedit.registry import Registry

EDITORS: Final[Registry[Editor[Any]]] = Registry(
    kind="baked method",
    package="memedit.editing",
    base=Editor,  # type: ignore[type-abstract]  # a base is only compared with
    group="memedit.editing",
)


def open_editor(name: str, settings: dict[str, Any] | None = None, **forms: Any) -> Editor[Any]:
    """Make the method called ``name``.

    Args:
        name: the registry's, e.g. ``ft-m``.
        settings: fields of its config; what is left out has its default.
        forms: ``prompt_form``, ``target_form``, ``ends``, ``sites``, as ``Editor`` takes them.

    Raises:
        UnknownNameError: no method of that name.
        SettingsError: a setting that it does not have, or a value that cannot be.

    """
    kind = EDITORS.get(name)
    return kind(settings_of(kind.config_type, settings or {}, name), **forms)
