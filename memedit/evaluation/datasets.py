"""Which data sets can be asked for, and how one is loaded.

A spec is one of

- `atlasedit`: the benchmark of the reference model, found where it lies (see `atlasedit_folder`);
- `atlasedit:DIR` or `atlasedit:FILE`;
- `FORMAT:FILE[,FILE...]`, with a registered format: knowedit, zsre, counterfact, mquake,
  hallueditbench; a folder in a file's place means its `.json` and `.csv` files;
- several of these, joined by `+`, for a mixed data set.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from memedit.errors import DatasetError, MissingResourceError, SettingsError
from memedit.evaluation.cases import DataFile, Dataset, EditCase, Fault
from memedit.evaluation.formats.base import Reading
from memedit.evaluation.formats.catalog import FORMATS
from memedit.evaluation.formats.fitting import unfit_file, which_fits
from memedit.evaluation.label_faults import label_faults

ATLASEDIT = "atlasedit"
ATLASEDIT_VARIABLE = "MEMEDIT_ATLASEDIT"
"""The environment variable that names AtlasEdit's folder."""
_FOLDER = Path("examples", "atlas", "data", "atlasedit")
_ENDINGS = (".json", ".csv")
_SPLIT_NAME = re.compile(r"_(?:train|test|dev|val|valid|eval)(?:_\d+)?$")


def load_dataset(
    spec: str,
    *,
    split: str = "test",
    limit: int | None = None,
    tasks: Iterable[str] | None = None,
) -> Dataset:
    """Load a data set.

    Args:
        spec: as the module says.
        split: which of AtlasEdit's files, `train` or `test`; files named one by one have none.
        limit: how many cases in all, spread evenly over the tasks and over each task's file; the
            same every time. Faults are then those of these cases, and of what could not be read.
        tasks: only these.

    Raises:
        SettingsError: the spec, the limit, the split or a task's name cannot be used.
        UnknownNameError: no format is called that.
        DatasetError: a file cannot be read as its format.
        MissingResourceError: AtlasEdit is not there.

    """
    if limit is not None and limit < 1:
        raise SettingsError(f"limit is a number of cases, at least 1; got {limit}")
    files = [found for part in _parts(spec) for found in _files(part, split)]
    repeated = [
        str(path) for path, n in Counter(path.resolve() for _, path in files).items() if n > 1
    ]
    if repeated:
        raise SettingsError(f"{', '.join(repeated)} is named more than once in {spec!r}")
    readings = [
        _read(format, path, name)
        for (format, path), name in zip(files, _names([path for _, path in files]), strict=True)
    ]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for _, path in files]
    read = tuple(
        DataFile(format, path.name, sha256, reading.task)
        for (format, path), sha256, reading in zip(files, hashes, readings, strict=True)
    )
    cases = [case for reading in readings for case in reading.cases]
    known = list(dict.fromkeys(reading.task for reading in readings))
    unfit = [
        (reading.task, unfit_file(format, path, reading))
        for (format, path), reading in zip(files, readings, strict=True)
        if not reading.cases
    ]
    wanted = known if tasks is None else list(dict.fromkeys(tasks))
    if unknown := [task for task in wanted if task not in known]:
        raise SettingsError(f"{spec!r} has no task {unknown[0]!r}; it has {', '.join(known)}")
    readings = [reading for reading in readings if reading.task in wanted]
    cases = [case for case in cases if case.task in wanted]
    faults = [fault for reading in readings for fault in reading.faults]
    there = dict.fromkeys(case.task for case in cases)
    if limit is not None and limit < len(cases):
        cases = spread(cases, limit)
        chosen = {case.id for case in cases}
        faults = [fault for fault in faults if fault.dropped or _case_of(fault) in chosen]
    return Dataset(
        name=spec,
        fingerprint=_fingerprint(hashes),
        cases=tuple(cases),
        faults=tuple(faults),
        records=sum(reading.records for reading in readings),
        probes=Counter(
            (case.task, probe.metric.value, probe.kind) for case in cases for probe in case.probes
        ),
        files=tuple(file for file in read if file.task in wanted),
        unfit=tuple(said for task, said in unfit if task in wanted),
        left_out=tuple(task for task in there if task not in {case.task for case in cases}),
    )


def task_of(name: str) -> str:
    """Return the task that a file's name tells: the name without ending and split.

    >>> task_of("wiki_counterfact_train.json")
    'wiki_counterfact'
    """
    return _SPLIT_NAME.sub("", Path(name).stem)


def atlasedit_folder() -> Path:
    """Find AtlasEdit: where `MEMEDIT_ATLASEDIT` points, or in the repository.

    The repository is that of the package, or the working directory.

    Raises:
        MissingResourceError: it is in none of these places.

    """
    named = os.environ.get(ATLASEDIT_VARIABLE)
    places = [Path(named)] if named else [Path(__file__).parents[2] / _FOLDER, Path.cwd() / _FOLDER]
    for place in places:
        if place.is_dir():
            return place
    raise MissingResourceError(
        f"AtlasEdit was looked for in {' and '.join(map(str, dict.fromkeys(places)))} and is not "
        f"there; run from a checkout of the repository, set {ATLASEDIT_VARIABLE}, or name the "
        "folder: atlasedit:DIR"
    )


def spread(cases: Sequence[EditCase], limit: int) -> list[EditCase]:
    """Choose `limit` cases: evenly over the tasks, and evenly spaced within each, in order.

    A task that has too few leaves its share to the others.
    """
    by_task: dict[str, list[EditCase]] = {}
    for case in cases:
        by_task.setdefault(case.task, []).append(case)
    quota = dict.fromkeys(by_task, 0)
    left = min(limit, len(cases))
    while left:
        for task, there in by_task.items():
            if left and quota[task] < len(there):
                quota[task] += 1
                left -= 1
    return [
        there[place * len(there) // quota[task]]
        for task, there in by_task.items()
        for place in range(quota[task])
    ]


def _parts(spec: str) -> list[tuple[str, str]]:
    """Split a spec into (format, files); a `+` inside a path stays where it is."""
    names = "|".join(map(re.escape, (ATLASEDIT, *FORMATS.names())))
    parts = re.split(rf"\+(?=(?:{names})(?::|\+|$))", spec.strip())
    return [(name.strip(), files) for name, _, files in (part.partition(":") for part in parts)]


def _files(part: tuple[str, str], split: str) -> list[tuple[str, Path]]:
    """Return (format, path) of every file that a part of a spec means."""
    name, listed = part
    if name == ATLASEDIT:
        place = Path(listed) if listed else atlasedit_folder()
        if not place.exists():
            raise MissingResourceError(f"{place} is not there; expected AtlasEdit's folder or file")
        paths = sorted(place.glob(f"*_{split}.json")) if place.is_dir() else [place]
        if not paths:
            there = sorted({path.stem.rpartition("_")[2] for path in place.glob("*_*.json")})
            raise SettingsError(
                f"{place} has no files of the split {split!r} (*_{split}.json); "
                f"it has {', '.join(there) or 'none of any split'}"
            )
        return [("mquake" if _has_hops(path) else "knowedit", path) for path in paths]
    FORMATS.get(name)  # an unknown name first: it says which there are
    places = [Path(file.strip()) for file in listed.split(",") if file.strip()]
    if not places:
        raise SettingsError(f"{name!r} names no file; expected {name}:FILE[,FILE...]")
    return [(name, path) for place in places for path in _files_at(place)]


def _files_at(place: Path) -> list[Path]:
    """Return a file as it is, and of a folder what may be a data set's."""
    if not place.is_dir():
        return [place]
    paths = sorted(path for path in place.iterdir() if path.suffix.lower() in _ENDINGS)
    if not paths:
        raise MissingResourceError(f"{place} holds no {' and no '.join(_ENDINGS)} file")
    return paths


def _has_hops(path: Path) -> bool:
    """Tell AtlasEdit's one file in MQuAKE's format from the others, by its name."""
    return path.stem.startswith("multihop")


def _names(paths: Sequence[Path]) -> list[str]:
    """Name each file by its stem, with its folder in front where two stems are the same."""
    stems = Counter(path.stem for path in paths)
    names = [
        path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}/{path.stem}"
        for path in paths
    ]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _read(format: str, path: Path, name: str) -> Reading:
    reading = Reading(name, task_of(path.name))
    try:
        FORMATS.get(format)().read(path, reading)
    except DatasetError as error:
        fits = which_fits(path, but=format)
        raise DatasetError(
            f"{path} cannot be read as {format}: {error}{f'; {fits}' if fits else ''}"
        ) from None
    reading.faults.extend(label_faults(reading.cases))
    return reading


def _case_of(fault: Fault) -> str:
    """Return the id of the case that a fault is in: all up to the first closing bracket."""
    head, bracket, _ = fault.where.partition("]")
    return head + bracket


def _fingerprint(hashes: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for sha256 in hashes:
        digest.update(bytes.fromhex(sha256))
    return digest.hexdigest()
