"""Whether a trained part is measured on the domain that it was trained on, or on another.

What is trained for editing (a counterfactual model, a scope classifier) may have learned the
phrasings and relations of its data set. Scores on that domain say less about other domains than
they seem to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.evaluation.cases import DataFile
from memedit.evaluation.datasets import task_of

MANIFEST = "manifest.json"
RECORD = "trained_on"
"""The key of a trained part's manifest: a list of format, file and sha256 (or fingerprint)."""


class Domain(StrEnum):
    """What the data of a task are to a trained part; from the nearest to the farthest."""

    TRAINED = "trained on"
    """The very file: its scores are no test."""
    IN = "in-domain"
    """Another file of the same format and task, for example another split."""
    CROSS = "cross-domain"
    """A task that it was not trained on."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained part, and what it learned from."""

    name: str
    files: tuple[DataFile, ...]

    def domains(self, measured: Sequence[DataFile]) -> dict[str, Domain]:
        """Return for each measured task what it is to this part.

        A task of several files counts as the nearest of them. Formats and the files' names tell
        which task a file is of; files of one name but of different worlds cannot be told apart.
        """
        hashes = {file.sha256 for file in self.files}
        tasks = {(file.format, file.task) for file in self.files}
        found: dict[str, Domain] = {}
        nearness = list(Domain)
        for file in measured:
            if file.sha256 in hashes:
                domain = Domain.TRAINED
            else:
                domain = Domain.IN if (file.format, file.task) in tasks else Domain.CROSS
            found[file.task] = min(found.get(file.task, domain), domain, key=nearness.index)
        return found

    def record(self, measured: Sequence[DataFile]) -> dict[str, Any]:
        """Return what stands in a run's manifest."""
        return {
            "name": self.name,
            "files": [asdict(file) for file in self.files],
            "domains": {task: str(domain) for task, domain in self.domains(measured).items()},
        }


def read_trained(folder: Path) -> Trained:
    """Read what a folder's manifest says it was trained on.

    Raises:
        MissingResourceError: there is no such folder.
        InvalidInputError: nothing in it says what it was trained on.

    """
    if not folder.is_dir():
        raise MissingResourceError(
            f"{folder} is no folder; give the folder that a training wrote, with {MANIFEST}"
        )
    for path in (folder / MANIFEST, *sorted(folder.glob("*.json"))):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))[RECORD]
            files = tuple(_file(record) for record in said)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if files:
            return Trained(folder.resolve().name, files)
    raise InvalidInputError(
        f"nothing in {folder} says what it was trained on; expected {MANIFEST} with {RECORD!r}, a "
        "list of format, file and sha256, as 'memedit train' writes it"
    )


def _file(record: dict[str, Any]) -> DataFile:
    name = Path(str(record["file"])).name
    sha256 = record.get("sha256") or record["fingerprint"]
    return DataFile(str(record["format"]), name, str(sha256), task_of(name))
