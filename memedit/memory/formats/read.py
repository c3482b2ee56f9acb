"""Reading a file of edits: every record becomes an edit, or is named with the reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from memedit.errors import DatasetError
from memedit.memory.formats.base import EditFormat, Source, Unusable
from memedit.memory.formats.catalog import AUTO, FORMATS
from memedit.memory.records import NewEdit
from memedit.types import DEFAULT_NAMESPACE, EditRequest


class Skipped(NamedTuple):
    """A record that gave no edit."""

    record: str
    """Where it stands in the file, for example ``[12]``, ``K_F[3]`` or ``line 7``."""
    reason: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What a file held: each of its records is in ``edits`` or in ``skipped``."""

    format: str
    edits: tuple[NewEdit, ...]
    skipped: tuple[Skipped, ...]

    @property
    def records(self) -> int:
        """Number of records in the file."""
        return len(self.edits) + len(self.skipped)

    @property
    def requests(self) -> list[EditRequest]:
        """The requests alone."""
        return [edit.request for edit in self.edits]


def read_edits(
    format: str,
    path: str | Path,
    *,
    namespace: str = DEFAULT_NAMESPACE,
    rephrases: bool = True,
) -> ImportResult:
    """Read all edits of a file.

    Args:
        format: a registered name, or ``auto`` to look at the file.
        path: the file.
        namespace: for records that name none.
        rephrases: keep the paraphrases that come with a record.  Leave them out where the same
            paraphrases are to measure how well an edit generalises: a stored one is always found.

    Raises:
        DatasetError: the file cannot be read, or is of no format that is known.
        UnknownNameError: no format is called that.

    """
    source = Source.read(Path(path))
    name = _recognised(source, path) if format == AUTO else format
    reader = FORMATS.get(name)()
    edits: list[NewEdit] = []
    skipped: list[Skipped] = []
    places: dict[NewEdit, str] = {}
    try:
        for place, record in reader.records(source):
            try:
                edit = reader.read(record, namespace)
            except Unusable as why:
                skipped.append(Skipped(place, str(why)))
                continue
            if not rephrases:
                request = edit.request.model_copy(update={"rephrases": ()})
                edit = NewEdit(request, edit.namespace, edit.author, edit.valid_from, edit.valid_to)
            before = places.setdefault(edit, place)
            if before != place and not reader.may_repeat:
                skipped.append(Skipped(place, f"the same edit as {before}"))
            else:
                edits.append(edit)
    except DatasetError as error:
        raise DatasetError(f"{path} cannot be read as {name}: {error}") from None
    return ImportResult(name, tuple(edits), tuple(skipped))


def _recognised(source: Source, path: str | Path) -> str:
    names = [name for name in FORMATS.names() if _reader(name).recognises(source)]
    if len(names) == 1:
        return names[0]
    found = f"looks like {' and '.join(names)}" if names else "looks like none that is known"
    raise DatasetError(f"{path} {found}; name its format: {', '.join(FORMATS.names())}")


def _reader(name: str) -> EditFormat:
    return FORMATS.get(name)()
