"""What commands that teach models are given: edits of a file or of a memory, and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memedit.errors import SettingsError
from memedit.types import EditRequest

if TYPE_CHECKING:
    from memedit.modeling.delta import EditVersion


@dataclass(frozen=True, slots=True)
class Source:
    """Where a command's edits come from: a file, or a memory or proxy.

    Raises:
        SettingsError: a file is named, and a memory too.

    """

    file: Path | None
    format: str
    memory: str | None
    url: str | None
    key: str | None
    config: Path | None
    namespace: str | None
    limit: int | None

    def __post_init__(self) -> None:
        if self.file is not None and (self.memory or self.url or self.namespace):
            raise SettingsError("--edits names a file; leave out --memory, --url and --namespace")

    def read(self, purpose: str) -> tuple[list[EditRequest], list[EditVersion] | None]:
        """Return the edits, and for those of a memory which stored versions they are.

        Args:
            purpose: what is to be done with them, for the error: "nothing to ``purpose``".

        Raises:
            SettingsError: there are no edits.

        """
        versions: list[EditVersion] | None = None
        if self.file is not None:
            requests = edits_of_file(self.file, self.format, self.limit)
        else:
            requests, versions = edits_of_memory(
                self.memory, self.url, self.key, self.config, self.namespace, self.limit
            )
        if not requests:
            raise SettingsError(f"there is nothing to {purpose}: {self._none()}")
        return requests, versions

    def _none(self) -> str:
        """Say where there are no edits."""
        if self.file is not None:
            return f"no edits in {self.file}"
        from memedit.config import Settings

        # as it is shown, without a password
        of_settings = Settings.read(self.config, {"memory": {"url": self.memory}}).shown()
        where = self.url or of_settings["memory"]["url"]
        among = "" if self.namespace is None else f" in the namespace {self.namespace!r}"
        return f"no live edits{among} of {where}; 'memedit list' shows those that there are"


def edits_of_file(file: Path, format: str, limit: int | None) -> list[EditRequest]:
    """Read edits of a file; what cannot be read is said on stderr."""
    from memedit.memory.formats import read_edits

    read = read_edits(format, file)
    for one in read.skipped[:3]:
        typer.echo(f"skipped {one.record}: {one.reason}", err=True)
    if len(read.skipped) > 3:
        typer.echo(f"and {len(read.skipped) - 3} more records skipped", err=True)
    return read.requests[:limit]


def edits_of_memory(
    memory: str | None,
    url: str | None,
    key: str | None,
    config: Path | None,
    namespace: str | None,
    limit: int | None,
) -> tuple[list[EditRequest], list[EditVersion]]:
    """Read the live edits of a memory or a proxy."""
    from memedit.cli.store import open_store
    from memedit.modeling.delta import EditVersion

    with open_store(memory, url, key, config, create=False) as store:
        live = list(store.list(namespace=namespace))[:limit]
    return [edit.request for edit in live], [EditVersion(edit.id, edit.version) for edit in live]


def settings_of_options(
    given: Sequence[str], layer: int | None, option: str = "--set"
) -> dict[str, Any]:
    """Return the method's settings: ``search.steps=20`` is a field of a field.

    Args:
        given: each NAME=VALUE; a value is JSON, or else the text that it is.
        layer: set beside them, where there is one.
        option: where they were given, for the error.

    Raises:
        SettingsError: one is not of the form NAME=VALUE, or names another layer.

    """
    import json as parser

    found: dict[str, Any] = {} if layer is None else {"layer": layer}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise SettingsError(f"{option} {text!r}: expected NAME=VALUE, e.g. search.steps=20")
        try:
            read: Any = parser.loads(value)
        except ValueError:
            read = value
        *above, last = name.split(".")
        place = found
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{option} {text!r}: {part} was given a value of its own")
        if place is found and last == "layer" and layer not in (None, read):
            raise SettingsError(f"--layer {layer} and {option} {text} contradict; leave one out")
        place[last] = tuple(read) if isinstance(read, list) else read
    return found
