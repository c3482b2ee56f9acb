"""A run as it lies on disk: what was asked for, what was scored, and what it cost.

    manifest.json   what is measured: data set, model, methods, settings, amounts, versions
    scored.jsonl    one line per scored probe
    done.jsonl      one line per method, setting and case that is finished, with the seconds that
                    were worked by then, pauses not counted
    cost.jsonl      what editing took: a line per case, or per cases that were edited together
    rows.json       the summary
    .lock           held by the process that is at work on the run

A run that was broken off is gone on with: cases that are finished are not asked again, and lines of
a case that is not are dropped.
"""

from __future__ import annotations

import errno
import json
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError, SettingsError
from memedit.evaluation.rows import Row, Scored
from memedit.evaluation.run_differences import layers_said, unlike

MANIFEST = "manifest.json"
LOCK = ".lock"
LAYOUT = 2
"""What the lines mean; 2: tasks are mixed, and costs have no scoring and leave out what was held
before. Runs that say nothing are older."""
_SAME = (
    *("layout", "dataset", "aliases_from", "model", "setting", "scope", "form", "amounts"),
    *("cases", "company"),
)
"""What two runs must agree in to be one."""
_SAME_IF_KNOWN = ("incontext", "trained")
"""What they must agree in where both say it: runs that are older than it do not."""
_LAYERS = "layers"
"""Baked method -> `layers` that it edits, and where they come `from`."""

Unit = tuple[str, str, str]
"""Method, setting, case."""


class RunFolder:
    """One folder of one run.

    Args:
        path: the folder; made where it is not there.
        manifest: what is to be measured.

    Raises:
        SettingsError: another run lies in the folder, another process is at work on this one, or
            no folder can be made there.

    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be made a run's folder: {error.strerror or error}; choose another"
            ) from error
        self._keep_others_out()
        self.manifest = dict(manifest)
        self._began = time.monotonic()
        known = self._manifest_there()
        if known is not None:
            self._check(known)
            names = [*known.get("methods", []), *self.manifest["methods"]]
            self.manifest["methods"] = list(dict.fromkeys(names))
            self.manifest[_LAYERS] = self._layers(known)
            self.manifest["started"] = known.get("started")
            self.manifest["commands"] = [
                *known.get("commands", []),
                *self.manifest.get("commands", []),
            ]
            self.manifest["not_scored"] = known.get("not_scored", [])
            # A command that names no run to compare with does not take back one that did.
            self.manifest["compare"] = self.manifest.get("compare") or known.get("compare")
        self._worked_before = self.manifest["worked"] = self._worked(known or {})
        self.write_manifest()
        self.done = {_unit(record) for record in self._lines("done.jsonl")}
        self._drop_unfinished()

    def _keep_others_out(self) -> None:
        """Have the folder to this process alone, as long as this object lives."""
        try:
            import fcntl  # not on Windows
        except ImportError:
            return
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, lock)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):  # else a file system without locks
                raise SettingsError(
                    f"another process is at work on {self.path}; wait for it, or choose another "
                    "--report folder"
                ) from error

    @property
    def worked(self) -> float | None:
        """Seconds that were worked on the run, pauses not counted.

        None: it was begun by a version that did not keep them.
        """
        if self._worked_before is None:
            return None
        return round(self._worked_before + time.monotonic() - self._began, 1)

    def write_manifest(self) -> None:
        """Write what is known of the run by now."""
        self._replace(MANIFEST, json.dumps(self.manifest, indent=1, ensure_ascii=False))

    def add(self, unit: Unit, scored: Sequence[Scored]) -> None:
        """Keep what was scored of one case, and mark it as finished."""
        self._append("scored.jsonl", [one.as_record() for one in scored])
        done = {"method": unit[0], "setting": unit[1], "case": unit[2], "worked": self.worked}
        self._append("done.jsonl", [done])
        self.done.add(unit)

    def add_cost(self, record: Mapping[str, Any]) -> None:
        """Keep what some edits cost."""
        self._append("cost.jsonl", [record])

    def scored(self) -> list[Scored]:
        """Return everything that was scored."""
        return [Scored.of_record(record) for record in self._lines("scored.jsonl")]

    def costs(self) -> list[dict[str, Any]]:
        """Return what editing cost."""
        return list(self._lines("cost.jsonl"))

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Write the summary."""
        self._replace("rows.json", json.dumps([row.as_record() for row in rows], indent=1))

    def _manifest_there(self) -> dict[str, Any] | None:
        file = self.path / MANIFEST
        if not file.exists():
            if (self.path / "scored.jsonl").exists():
                raise DatasetError(
                    f"{self.path} has scored.jsonl but no {MANIFEST}; it is no folder of a run: "
                    "choose another"
                )
            return None
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{file} is not JSON: {error}; choose another folder") from None
        if not isinstance(known, dict):
            raise DatasetError(f"{file} is no manifest of a run; choose another folder")
        return known

    def _check(self, known: Mapping[str, Any]) -> None:
        mine = json.loads(json.dumps(self.manifest))
        both = [name for name in _SAME_IF_KNOWN if name in known and name in mine]
        found = [
            one
            for name in (*_SAME, *both)
            for one in unlike(name, mine.get(name), known.get(name))
            if name != "cases" or known.get("dataset") == mine.get("dataset")
        ]
        if found:
            said = "; ".join(f"another {one.what}: {one.then}, not {one.now}" for one in found)
            raise SettingsError(
                f"{self.path} holds a run with {said}. Choose another --report folder"
            )

    def _worked(self, known: Mapping[str, Any]) -> float | None:
        """Return what was worked before: by the last finished case, or by the end of the run."""
        done = [record.get("worked") for record in self._lines("done.jsonl")]
        if known.get("worked") is None and None in done:
            return None
        return max(float(seconds or 0.0) for seconds in (known.get("worked"), *done))

    def _layers(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return which layers each baked method edits, those of earlier commands among them.

        A method of which the folder holds cases is gone on with where it was begun alone: "ft-m" of
        two layers is two methods. What a run without such a record edited stays unsaid.
        """
        before: dict[str, Any] = known.get(_LAYERS) or {}
        now: dict[str, Any] = json.loads(json.dumps(self.manifest.get(_LAYERS) or {}))
        begun = {str(record["method"]) for record in self._lines("done.jsonl")}
        for method in begun & now.keys():
            if method not in before:
                del now[method]
            elif before[method].get("layers") != now[method].get("layers"):
                raise SettingsError(
                    f"{self.path} holds cases of {method} with {layers_said(before[method])}; now "
                    f"it would be {layers_said(now[method])}. Name the layers in the method's "
                    "settings, or choose another --report folder"
                )
            else:
                now[method] = before[method]
        return before | now

    def _drop_unfinished(self) -> None:
        """Keep the lines of finished cases, each case once; a torn last line goes as well."""
        for name in ("scored.jsonl", "cost.jsonl", "done.jsonl"):
            file = self.path / name
            if not file.exists():
                continue
            records = list(self._lines(name))
            if name == "scored.jsonl":
                records = [record for record in records if _unit(record) in self.done]
            text = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
            if text != file.read_text(encoding="utf-8", errors="replace"):
                self._replace(name, text)

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        file = self.path / name
        if not file.exists():
            return
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                if number == len(lines):
                    return  # torn: the run was broken off while it was written
                raise DatasetError(f"{file}, line {number} is not JSON") from None
            yield record

    def _append(self, name: str, records: Sequence[Mapping[str, Any]]) -> None:
        lines = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(lines)

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that it is there as a whole or not at all."""
        new = self.path / f".{name}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(self.path / name)


def _unit(record: Mapping[str, Any]) -> Unit:
    return (str(record["method"]), str(record["setting"]), str(record["case"]))
