"""The live edits in memory: what a search answers from, without a word of SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from memedit.indexes.base import VectorIndex
from memedit.indexes.name_gate import NameGate
from memedit.indexes.names import NameIndex, names_of
from memedit.memory.encoding import Vectors
from memedit.memory.entries import POSITION_BITS, Entry, entry_of, keys_of
from memedit.memory.erased import ErasedNames
from memedit.memory.facts import FactTable, FactTables
from memedit.memory.gating import let_through
from memedit.memory.question_rows import StoredQuestions
from memedit.memory.rows import StoredEdit
from memedit.types import Candidate, Edit, Status

_MOST_NAMED = 16
"""Edits that one query brings up because it names their subject."""


class LiveEdits:
    """Live edits with one vector index per namespace.

    The key of a vector is the ``seq`` of its edit and the position of its text.  Not safe for
    concurrent use: the owner holds a lock.
    """

    def __init__(self, dim: int, index: type[VectorIndex]) -> None:
        self._dim = dim
        self._index = index
        self._entries: dict[int, Entry] = {}
        self._seq_of: dict[str, int] = {}
        self._indexes: dict[str, VectorIndex] = {}
        self._names: dict[str, NameIndex] = {}
        self._targets: dict[str, NameIndex] = {}  # of edits that say something of their targets
        self._gates: dict[str, NameGate] = {}  # of namespaces that were ever asked for theirs
        self._erased = ErasedNames()
        self._facts = FactTables()
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def apply(self, changes: Iterable[StoredEdit]) -> None:
        """Take over versions in the order they were written: each replaces the one before it."""
        newest: dict[str, StoredEdit] = {}
        for change in changes:
            newest[change.edit.id] = change
        gone: dict[str, list[int]] = {}
        for edit_id in newest:
            seq = self._seq_of.pop(edit_id, None)
            if seq is not None:
                entry = self._entries.pop(seq)
                self._counts[entry.edit.namespace] -= 1
                self._names[entry.edit.namespace].remove(seq)
                if entry.turned is not None:
                    self._targets[entry.edit.namespace].remove(seq)
                if entry.edit.namespace in self._gates:
                    self._gates[entry.edit.namespace].remove(seq)
                self._erased.remove(entry.edit.namespace, seq)
                self._facts.remove(entry.edit.namespace, seq)
                gone.setdefault(entry.edit.namespace, []).extend(keys_of(seq, len(entry.texts)))
        for namespace, keys in gone.items():
            self._indexes[namespace].remove(np.array(keys, dtype=np.int64))
        born: dict[str, list[StoredEdit]] = {}
        for change in newest.values():
            if change.edit.status is Status.LIVE:
                born.setdefault(change.edit.namespace, []).append(change)
        for namespace, group in born.items():
            self._insert(namespace, group)

    def _insert(self, namespace: str, group: Sequence[StoredEdit]) -> None:
        index = self._indexes.get(namespace)
        if index is None:
            index = self._indexes[namespace] = self._index(self._dim)
        names = self._names.setdefault(namespace, NameIndex())
        keys = [key for one in group for key in keys_of(one.seq, len(one.texts))]
        index.add(np.array(keys, dtype=np.int64), np.concatenate([one.vectors for one in group]))
        for one in group:
            self._entries[one.seq] = entry = entry_of(one)
            self._seq_of[one.edit.id] = one.seq
            request = one.edit.request
            names.add(one.seq, names_of(request.subject, request.aliases))
            if entry.turned is not None:
                targets = self._targets.setdefault(namespace, NameIndex())
                targets.add(one.seq, names_of(entry.turned.request.subject, ()))
            if namespace in self._gates:
                let_through(self._gates[namespace], one.seq, request)
            self._erased.add(namespace, one.seq, request)
            self._facts.add(namespace, one.seq, one.edit)
        self._counts[namespace] = self._counts.get(namespace, 0) + len(group)

    def enrich(self, changes: Iterable[StoredQuestions]) -> None:
        """Take over generated questions; those of versions that are no longer live are left out.

        Each set replaces the one that the version had before.
        """
        gone: dict[str, list[int]] = {}
        born: dict[str, list[tuple[range, Vectors]]] = {}
        for change in {change.seq: change for change in changes}.values():
            entry = self._entries.get(change.seq)
            if entry is None:
                continue
            namespace, own = entry.edit.namespace, entry.own
            gone.setdefault(namespace, []).extend(keys_of(change.seq, len(entry.texts))[own:])
            self._entries[change.seq] = replace(entry, texts=entry.texts[:own] + change.texts)
            if change.texts:
                keys = keys_of(change.seq, own + len(change.texts))[own:]
                born.setdefault(namespace, []).append((keys, change.vectors))
        for namespace, old in gone.items():
            if old:
                self._indexes[namespace].remove(np.array(old, dtype=np.int64))
        for namespace, new in born.items():
            ids = np.array([key for keys, _ in new for key in keys], dtype=np.int64)
            self._indexes[namespace].add(ids, np.concatenate([vectors for _, vectors in new]))

    def question_count(self) -> int:
        """Return how many generated texts there are."""
        return sum(len(entry.texts) - entry.own for entry in self._entries.values())

    def questions(self) -> dict[int, tuple[str, ...]]:
        """Return the generated texts by ``seq``, of edits that have some."""
        return {
            seq: entry.texts[entry.own :]
            for seq, entry in self._entries.items()
            if len(entry.texts) > entry.own
        }

    def counts(self) -> dict[str, int]:
        """Return how many live edits each namespace holds; none is left out that holds any."""
        return {namespace: n for namespace, n in sorted(self._counts.items()) if n}

    def has(self, namespaces: Sequence[str]) -> bool:
        """Tell whether any of the namespaces holds a live edit."""
        return any(self._counts.get(namespace, 0) for namespace in namespaces)

    def may_concern(self, texts: Sequence[str], namespaces: Sequence[str]) -> bool:
        """Tell whether any text may name an edit; see ``EditMemory.may_concern``."""
        gates = [self._gate(name) for name in namespaces if self._counts.get(name, 0)]
        return any(gate.passes(text) for gate in gates for text in texts)

    def _gate(self, namespace: str) -> NameGate:
        gate = self._gates.get(namespace)
        if gate is None:
            gate = NameGate()
            for seq, entry in self._entries.items():
                if entry.edit.namespace == namespace:
                    let_through(gate, seq, entry.edit.request)
            self._gates[namespace] = gate
        return gate

    def facts(self, namespace: str) -> FactTable:
        """Return the edits of a namespace by names, whenever they are valid."""
        self.read_facts(namespace, None)
        return self._facts.full(namespace)

    def read_facts(self, namespace: str, most: int | None) -> bool:
        """Make a piece of what ``facts`` returns; tell whether more is to be made."""
        if namespace not in self._facts:
            entries = self._entries.items()
            edits = {seq: one.edit for seq, one in entries if one.edit.namespace == namespace}
            self._facts.begin(namespace, edits)
        return self._facts.fill(namespace, most)

    def held_open(self) -> dict[str, int]:
        """Return how many edits hold the gate of their namespace open, where gates are asked."""
        return {name: gate.held_open for name, gate in sorted(self._gates.items())}

    def keys(self) -> dict[str, set[int]]:
        """Return the keys that stand in the index of each namespace."""
        return {name: set(index.keys().tolist()) for name, index in self._indexes.items()}

    def vector_count(self) -> int:
        """Return the number of vectors in all indexes."""
        return sum(len(index) for index in self._indexes.values())

    def vectors(self, namespace: str, keys: Sequence[int]) -> Vectors:
        """Return vectors as the index of the namespace holds them."""
        return self._indexes[namespace].vectors(np.array(keys, dtype=np.int64))

    def edits(self) -> dict[int, Edit]:
        """Return the live edits by ``seq``."""
        return {seq: entry.edit for seq, entry in self._entries.items()}

    def structures(self) -> dict[str, str]:
        """Return what holds the vectors of each namespace."""
        return {
            name: str(getattr(index, "structure", type(index).__name__))
            for name, index in sorted(self._indexes.items())
            if len(index)
        }

    def candidates(
        self,
        vectors: Vectors,
        namespaces: Sequence[Sequence[str]],
        k: int,
        moment: datetime | None,
        texts: Sequence[str] | None = None,
    ) -> list[tuple[Candidate, ...]]:
        """Find the ``k`` most similar edits of each query; see ``EditMemory.candidates``."""
        asking: dict[str, list[int]] = {}
        for row, names in enumerate(namespaces):
            for name in dict.fromkeys(names):
                if self._counts.get(name, 0):
                    asking.setdefault(name, []).append(row)
        found: list[list[tuple[float, int, int]]] = [[] for _ in namespaces]
        for name, rows in asking.items():
            hits = self._nearest(self._indexes[name], vectors[rows], k, moment)
            for row, hit in zip(rows, hits, strict=True):
                found[row].extend(hit)
        if texts is None:
            return [tuple(self._candidate(hit, None) for hit in _best(hits, k)) for hits in found]
        answers = []
        for row, nearest in enumerate(found):
            named = self._named(texts[row], vectors[row], namespaces[row], moment)
            kept = {hit[1]: hit for hit in _best(nearest, k)} | {hit[1]: hit for hit in named}
            ordered = _best(list(kept.values()), len(kept))
            marked = {hit[1] for hit in named}
            answers.append(tuple(self._candidate(hit, hit[1] in marked) for hit in ordered))
        return answers

    def named(self, text: str, vector: Vectors, namespace: str, most: int) -> tuple[Candidate, ...]:
        """Find edits whose subject stands in ``text``, whenever they are valid.

        Args:
            text: where names are looked for.
            vector: what similarities are to, float32 ``[dim]``.
            namespace: of the edits.
            most: the number of edits looked at, those of longer names and newer ones first.

        """
        hits = self._named(text, vector, (namespace,), None, most, turned=False)
        return tuple(self._candidate(hit, named=True) for hit in hits)

    def erased(
        self, text: str, namespaces: Sequence[str], moment: datetime
    ) -> tuple[Candidate, ...]:
        """Find erasures whose subject stands in ``text``; see ``EditMemory.erased``."""
        entries = (self._entries[seq] for seq in self._erased.find(text, namespaces))
        return tuple(
            Candidate(entry.edit, similarity=0.0, matched=entry.texts[0], named=True)
            for entry in entries
            if entry.edit.is_valid_at(moment)
        )

    def _named(
        self,
        text: str,
        vector: Vectors,
        namespaces: Sequence[str],
        moment: datetime | None,
        most: int = _MOST_NAMED,
        *,
        turned: bool = True,
    ) -> list[tuple[float, int, int]]:
        """Return (similarity, seq, position) of valid edits whose subject stands in the text.

        With ``turned`` also of those whose target does, as far as they say something of it.
        """
        hits = []
        for namespace in dict.fromkeys(namespaces):
            places: dict[int, Sequence[int]] = {}
            if turned and namespace in self._targets:
                for seq in self._targets[namespace].find(text, most):
                    places[seq] = range(self._entries[seq].turned_from, self._entries[seq].own)
            if namespace in self._names:
                for seq in self._names[namespace].find(text, most):
                    places[seq] = self._entries[seq].asked_at()
            for seq, positions in places.items():
                if moment is not None and not self._entries[seq].edit.is_valid_at(moment):
                    continue
                first = seq << POSITION_BITS
                keys = np.array([first + at for at in positions], dtype=np.int64)
                similarities = self._indexes[namespace].vectors(keys) @ vector
                nearest = int(similarities.argmax())
                hits.append((float(similarities[nearest]), seq, positions[nearest]))
        return _best(hits, most)

    def _nearest(
        self, index: VectorIndex, vectors: Vectors, k: int, moment: datetime | None
    ) -> list[list[tuple[float, int, int]]]:
        """Return (similarity, seq, position) of the best text of the ``k`` nearest valid edits.

        Several texts belong to one edit, and edits may not be valid at ``moment``: where fewer
        than ``k`` edits are left, the search is repeated deeper until nothing more is there.
        """
        found: list[list[tuple[float, int, int]]] = [[] for _ in vectors]
        open_rows = np.arange(len(vectors))
        depth = min(len(index), 4 * k)
        while len(open_rows):
            result = index.search(vectors[open_rows], depth)
            for row, keys, similarities in zip(
                open_rows.tolist(), result.keys.tolist(), result.similarities.tolist(), strict=True
            ):
                best: dict[int, tuple[float, int, int]] = {}
                last = -np.inf
                for key, similarity in zip(keys, similarities, strict=True):
                    if len(best) >= k and similarity < last:
                        break  # an equal one may be newer
                    seq = key >> POSITION_BITS
                    if key < 0 or seq in best:
                        continue
                    if moment is not None and not self._entries[seq].edit.is_valid_at(moment):
                        continue
                    best[seq] = (similarity, seq, key & ((1 << POSITION_BITS) - 1))
                    last = similarity
                found[row] = list(best.values())
            if depth >= len(index):
                break
            open_rows = np.array(
                [row for row in open_rows.tolist() if len(found[row]) < k], dtype=np.int64
            )
            depth = min(len(index), 4 * depth)
        return found

    def _candidate(self, hit: tuple[float, int, int], named: bool | None = False) -> Candidate:
        """Make what a hit stands for; ``named=None``: as it is stored, whatever was hit."""
        similarity, seq, position = hit
        entry = self._entries[seq]
        turned = entry.turned if entry.turned_from <= position < entry.own else None
        return Candidate(
            edit=entry.edit if turned is None or named is None else turned,
            similarity=max(-1.0, min(1.0, similarity)),
            matched=entry.texts[position],
            named=bool(named),
            turned=turned is not None and named is not None,
        )


def _best(hits: list[tuple[float, int, int]], k: int) -> list[tuple[float, int, int]]:
    """Return the ``k`` most similar; of equally similar edits the one written last comes first."""
    return sorted(hits, key=lambda hit: (-hit[0], -hit[1]))[:k]
