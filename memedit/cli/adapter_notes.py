"""What ``memedit serve`` says about adapters before the first request needs one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memedit.config import AdapterSettings
    from memedit.memory import AdapterRecord


def adapter_notes(settings: AdapterSettings, records: Iterable[AdapterRecord]) -> list[str]:
    """Return what keeps adapters from being used, a line each; none where all is as it seems.

    Nothing of it is an error: a library may be made, and adapters added, while the proxy runs.

    Args:
        settings: the section ``adapters``.
        records: what the memory knows.

    """
    from memedit.library import Library

    live = [record for record in records if record.live]
    if settings.library is None:
        if not live and settings.base is None:
            return []
        known = f"the memory knows {_counted(live)}" if live else "adapters.base is set"
        return [f"{known}, but no library is named: none is used; --library DIR names it"]
    root = settings.library
    if not root.is_dir():
        return [f"there is no folder {root} (adapters.library) yet: no adapter is used till then"]
    notes = []
    foreign = [record for record in live if record.base != settings.base]
    if foreign:
        notes.append(
            f"{_counted(foreign)} not used: learned for another model than adapters.base says"
        )
    own = [record for record in live if record.base == settings.base]
    there = set(Library(root).names())
    gone = [record for record in own if record.name not in there]
    if gone:
        notes.append(f"{_counted(gone)} not in the library {root}, and cannot be loaded")
    return notes


def _counted(records: list[AdapterRecord]) -> str:
    names = ", ".join(record.name for record in records[:3])
    more = ", ..." if len(records) > 3 else ""
    return f"{len(records)} adapter{'s' if len(records) > 1 else ''} ({names}{more})"
