"""A finished run as it lies on disk, read for the report.

What is missing is shown as missing; what cannot be read is an error, or is counted and said.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError, MissingResourceError
from memedit.evaluation.cases import Fault
from memedit.evaluation.rows import Row, Scored


@dataclass(frozen=True, slots=True)
class Spent:
    """What a method's edits cost in one setting."""

    method: str
    setting: str
    edits: int
    seconds: float
    added_bytes: int | None
    """The most that was held beyond what was there before; None: not measured."""
    tokens_added: float | None
    """Mean per request, against the same prompt without the method; None: not measured."""

    @property
    def seconds_per_edit(self) -> float | None:
        """Seconds of computing one edit, None where none was made."""
        return self.seconds / self.edits if self.edits else None


@dataclass(frozen=True, slots=True)
class Unscored:
    """What was left out of the scores, how often and why."""

    what: str
    reason: str
    n: int
    setting: str = ""


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    folder: Path
    manifest: Mapping[str, Any]
    rows: tuple[Row, ...]
    scored: tuple[Scored, ...]
    spent: tuple[Spent, ...]
    faults: tuple[Fault, ...]
    unscored: tuple[Unscored, ...]
    unreadable: int = 0
    """Lines of `scored.jsonl` that could not be read."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method, in the manifest's order, those of the rows alone behind."""
        named = [str(name) for name in self.manifest.get("methods", ())]
        return tuple(dict.fromkeys([*named, *(row.method for row in self.rows)]))

    @property
    def settings(self) -> tuple[str, ...]:
        """Every setting that a row is of, as the rows come."""
        return tuple(dict.fromkeys(row.setting for row in self.rows))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that a row is of, as the rows come."""
        return tuple(dict.fromkeys(row.task for row in self.rows if row.task))

    def about(self, part: str) -> Mapping[str, Any]:
        """Return the manifest's words on `dataset` or `model`; empty where it has none."""
        said = self.manifest.get(part)
        return said if isinstance(said, Mapping) else {"name": said} if said else {}


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        MissingResourceError: no such folder, or no `manifest.json` or `rows.json` in it.
        DatasetError: a file in it is not what the runner writes.

    """
    if not folder.is_dir():
        raise MissingResourceError(f"{folder} is no folder; give the folder that a run wrote")
    manifest = _json(folder / "manifest.json", dict)
    raw = _json(folder / "rows.json", list)
    rows = tuple(_made(Row, record, folder / "rows.json") for record in raw)
    scored, unreadable = _scored(folder / "scored.jsonl")
    faults = manifest.get("faults", ())
    if (apart := folder / "faults.json").exists():
        faults = _json(apart, list)
    return Run(
        folder=folder,
        manifest=manifest,
        rows=rows,
        scored=scored,
        spent=_spent(folder / "cost.jsonl"),
        faults=tuple(_made(Fault, record, folder / "manifest.json") for record in faults),
        unscored=tuple(
            _made(Unscored, record, folder / "manifest.json")
            for record in manifest.get("not_scored", ())
        ),
        unreadable=unreadable,
    )


def _json(path: Path, kind: type) -> Any:
    if not path.exists():
        raise MissingResourceError(f"{path} is missing: {path.parent} holds no finished run")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, kind):
        raise DatasetError(f"{path} holds a {type(value).__name__}, expected a {kind.__name__}")
    return value


def _made(cls: type[Any], record: Mapping[str, Any], path: Path) -> Any:
    """Make a dataclass of a record; keys that it does not know are another version's."""
    known = {field.name for field in dataclasses.fields(cls)}
    try:
        return cls(**{key: value for key, value in record.items() if key in known})
    except (TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: no {cls.__name__} in {str(record)[:200]}: {error}") from None


def _lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield every line's object, None for one that cannot be read."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                yield None
                continue
            yield record if isinstance(record, dict) else None


def _scored(path: Path) -> tuple[tuple[Scored, ...], int]:
    scored: list[Scored] = []
    unreadable = 0
    for record in _lines(path):
        # A run that was killed leaves half a line; it was asked again when the run went on.
        if record is None:
            unreadable += 1
            continue
        record["expected"] = tuple(record.get("expected", ()))
        scored.append(_made(Scored, record, path))
    return tuple(scored), unreadable


def _spent(path: Path) -> tuple[Spent, ...]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in _lines(path):
        if record is None or "method" not in record:
            raise DatasetError(f"{path}: every line must be an object with a 'method'")
        groups.setdefault((record["method"], record.get("setting", "")), []).append(record)
    spent = []
    for (method, setting), records in groups.items():
        added = [r["tokens_added"] for r in records if r.get("tokens_added") is not None]
        held = [int(r["added_bytes"]) for r in records if r.get("added_bytes") is not None]
        spent.append(
            Spent(
                method=method,
                setting=setting,
                edits=sum(int(r.get("edits", 0)) for r in records),
                seconds=sum(float(r.get("seconds", 0.0)) for r in records),
                added_bytes=max(held, default=None),
                tokens_added=sum(added) / len(added) if added else None,
            )
        )
    return tuple(spent)
