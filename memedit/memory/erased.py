"""Erased facts by the names of their subjects, for what a conversation asked before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memedit.indexes.names import NameIndex, names_of
from memedit.types import EditRequest, Operation

MOST = 16
"""Erasures that one text brings up."""


class ErasedNames:
    """The erasures of each namespace; holds nothing else, so that a memory without any costs none.

    Not safe for concurrent use: the owner holds a lock.
    """

    def __init__(self) -> None:
        self._names: dict[str, NameIndex] = {}

    def add(self, namespace: str, seq: int, request: EditRequest) -> None:
        """Take over an edit, if it is an erasure."""
        if request.operation is Operation.ERASE:
            names = names_of(request.subject, request.aliases)
            self._names.setdefault(namespace, NameIndex()).add(seq, names)

    def remove(self, namespace: str, seq: int) -> None:
        """Forget an edit; one that is no erasure is no error."""
        if namespace in self._names:
            self._names[namespace].remove(seq)
            if not len(self._names[namespace]):
                del self._names[namespace]

    def find(self, text: str, namespaces: Sequence[str]) -> Iterator[int]:
        """Yield erasures whose subject stands in the text."""
        for namespace in dict.fromkeys(namespaces):
            if namespace in self._names:
                yield from self._names[namespace].find(text, MOST)
