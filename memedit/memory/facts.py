"""How edits hang together: which are about what another one answers."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import Final

from memedit.indexes.names import names_of, words_of
from memedit.memory.relations import is_composed, turned
from memedit.types import Edit, Operation

Name = tuple[str, ...]
"""The words of a name, without case and accents."""

MOST: Final = 64
"""Edits that one name brings up, the newest ones."""


class By(StrEnum):
    """What an edit is looked up by."""

    SUBJECT = "subject"
    """Any name of its subject."""
    ANSWER = "answer"
    COMPOSED = "composed"
    """Any name of its subject, if its prompt may go through another hop."""
    TURNED = "turned"
    """Any name of its subject, if its prompt asks a relation the other way round."""


def name_of(text: str) -> Name:
    """Return the words of one name."""
    return words_of(text).words


def subject_names(edit: Edit) -> tuple[Name, ...]:
    """Return by which names an edit's subject is known."""
    request = edit.request
    return tuple(dict.fromkeys(map(name_of, names_of(request.subject, request.aliases))))


class FactTable:
    """Edits by names, each looked up in one table access.

    Erasures are left out: what they answer is no name.  Not safe for concurrent use: the owner
    holds a lock.
    """

    def __init__(self) -> None:
        self._edits: dict[int, Edit] = {}
        self._keys: dict[By, dict[Name, dict[int, None]]] = {by: {} for by in By}

    def add(self, key: int, edit: Edit) -> None:
        """Store an edit under a key that is not stored yet."""
        if edit.request.operation is Operation.ERASE:
            return
        self._edits[key] = edit
        for by, name in _names(edit):
            self._keys[by].setdefault(name, {})[key] = None

    def remove(self, key: int) -> None:
        """Forget a key; one that is not stored is no error."""
        edit = self._edits.pop(key, None)
        if edit is None:
            return
        for by, name in _names(edit):
            keys = self._keys[by][name]
            del keys[key]
            if not keys:
                del self._keys[by][name]

    def find(self, by: By, name: Name) -> list[tuple[int, Edit]]:
        """Return the newest edits of a name with their keys, the newest one first."""
        keys = islice(reversed(self._keys[by].get(name, {})), MOST)
        return [(key, self._edits[key]) for key in keys]

    def holds(self, by: By) -> bool:
        """Tell whether anything is found by it."""
        return bool(self._keys[by])


class FactTables:
    """A table for every namespace that was written to, filled piece by piece.

    Not safe for concurrent use: the owner holds a lock, and lets it go between two pieces.
    """

    def __init__(self) -> None:
        self._tables: dict[str, FactTable] = {}
        self._waiting: dict[str, dict[int, Edit]] = {}

    def __contains__(self, namespace: str) -> bool:
        """Tell whether the namespace has a table, be it not full yet."""
        return namespace in self._tables

    def begin(self, namespace: str, edits: dict[int, Edit]) -> None:
        """Make a table for a namespace; ``edits`` are what it holds, the oldest first."""
        self._tables[namespace] = FactTable()
        self._waiting[namespace] = edits

    def fill(self, namespace: str, most: int | None = None) -> bool:
        """Read ``most`` of the edits that wait, or all; tell whether there are more."""
        waiting = self._waiting[namespace]
        for key in list(islice(waiting, most)):
            self._tables[namespace].add(key, waiting.pop(key))
        return bool(waiting)

    def full(self, namespace: str) -> FactTable:
        """Return the table of a namespace, with everything in it."""
        self.fill(namespace)
        return self._tables[namespace]

    def add(self, namespace: str, key: int, edit: Edit) -> None:
        """Take over a new edit, where the namespace has a table."""
        if namespace in self._tables:
            self._waiting[namespace][key] = edit  # behind those that it is newer than

    def remove(self, namespace: str, key: int) -> None:
        """Forget an edit, where the namespace has a table."""
        if namespace in self._tables and self._waiting[namespace].pop(key, None) is None:
            self._tables[namespace].remove(key)


def _names(edit: Edit) -> Iterator[tuple[By, Name]]:
    """Yield what an edit is found by, each once."""
    kinds = [By.SUBJECT]
    if is_composed(edit.request):
        kinds.append(By.COMPOSED)
    if turned(edit.request) is not None:
        kinds.append(By.TURNED)
    for name in subject_names(edit):
        for by in kinds:
            yield by, name
    answer = name_of(edit.request.target_new)
    if answer:
        yield By.ANSWER, answer
