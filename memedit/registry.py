"""One registry for every kind of part: indexes, scope classifiers, in-context methods, editors.

A part is one file with one class under ``@register("name")``.  Nothing is imported to find it:
the names are read off the source of the package's modules, and a module is imported when its part
is asked for.  Other distributions add parts through entry points of the same group.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from memedit.errors import InvalidInputError, UnknownNameError

C = TypeVar("C", bound=type)
T = TypeVar("T")

# Not read by `ast`: CPython 3.11 counts the depth of all syntax trees of a process in one place
# (gh-106905), and whoever formats a traceback meanwhile, in another thread or in a finalizer, makes
# both fail with SystemError.
_MARKED = re.compile(
    r"""^@register\(\s*(["'])(?P<name>[^"'\n]+)\1\s*\)[^\S\n]*(?:\#.*)?\n"""
    r"""(?:[@\s)#][^\n]*\n|[^\S\n]+[^\n]*\n|\n)*?class[ ]+(?P<part>\w+)""",
    re.MULTILINE,
)


def register(name: str) -> Callable[[C], C]:
    """Mark a class as the part called ``name``; the mark lives on the class, nowhere else.

    >>> @register("ice")
    ... class Ice: ...
    >>> Ice.registered_name
    'ice'
    """

    def mark(cls: C) -> C:
        cls.registered_name = name  # type: ignore[attr-defined]
        return cls

    return mark


@dataclass(frozen=True, slots=True)
class Registry(Generic[T]):
    """The parts of one kind: those in ``package``, and those that entry points of ``group`` add.

    Holds no state of its own: every look-up reads the package and the entry points afresh.
    """

    kind: str
    """What a part is called in messages, for example ``in-context method``."""
    package: str
    """The package whose modules hold the built-in parts."""
    base: type[T]
    group: str
    """The entry-point group through which other distributions add parts."""

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted; imports none of the parts."""
        return tuple(sorted(self._homes()))

    def get(self, name: str) -> type[T]:
        """Import and return the part called ``name``.

        Raises:
            UnknownNameError: no such part; the message lists what is there.
            InvalidInputError: the part is not a subclass of ``base``.

        """
        homes = self._homes()
        if name not in homes:
            near = difflib.get_close_matches(name, homes, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(homes)) or "none"
            raise UnknownNameError(f"no {self.kind} called {name!r}.{hint} Known: {known}.")
        module, _, attribute = homes[name].partition(":")
        part: object = importlib.import_module(module)
        for step in attribute.split("."):
            part = getattr(part, step)
        if not (isinstance(part, type) and issubclass(part, self.base)):
            raise InvalidInputError(
                f"{homes[name]} is registered as {self.kind} {name!r} but is no subclass of "
                f"{self.base.__module__}.{self.base.__qualname__}"
            )
        return part

    def _homes(self) -> dict[str, str]:
        """Map every name to its ``module:attribute``; a name claimed twice is an error."""
        homes: dict[str, str] = {}
        claims = _names_in_package(self.package) + [
            (entry.name, entry.value) for entry in importlib.metadata.entry_points(group=self.group)
        ]
        for name, home in claims:
            if homes.setdefault(name, home) != home:
                raise InvalidInputError(
                    f"two {self.kind}s are called {name!r}: {homes[name]} and {home}; "
                    "rename or uninstall one of them"
                )
        return homes


def _names_in_package(package: str) -> list[tuple[str, str]]:
    """Find the classes under ``@register("...")`` in a package's modules without importing them."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found: list[tuple[str, str]] = []
    for file in sorted(path for folder in folders for path in Path(folder).glob("*.py")):
        source = file.read_text(encoding="utf-8")
        if "@register(" not in source:
            continue
        for mark in _MARKED.finditer(source):
            found.append((mark["name"], f"{package}.{file.stem}:{mark['part']}"))
    return found
