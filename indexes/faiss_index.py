"""The index of choice: FAISS, exact while small, approximate when large.

The module must not be called ``faiss``: it would shadow the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import numpy as np

from memedit.errors import InvalidInputError
from memedit.indexes.base import NO_KEY, Keys, SearchResult, VectorIndex, Vectors
from memedit.indexes.faiss_stores import (
    COARSE_FROM,
    ExactStore,
    FaissStore,
    GraphStore,
    InvertedStore,
    faiss,
)
from memedit.indexes.folder import read_folder, write_folder
from memedit.registry import register

Kind = Literal["auto", "exact", "ivf", "hnsw"]

_WORTH_A_TEAM = 1_000_000
"""Comparisons from which a search is worth waking FAISS's team of threads."""


@contextmanager
def _single_threaded(only: bool) -> Iterator[None]:
    """Keep a small search on the calling thread.

    The members of an OpenMP team spin while they wait for each other: with the cores busy, a
    search of microseconds took tens of milliseconds.  The setting belongs to the calling thread
    and is put back.
    """
    if not only:
        yield
        return
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@register("faiss")
class FaissIndex(VectorIndex):
    """Inner products through FAISS.

    ``auto`` compares every vector up to ``exact_until`` of them and walks an HNSW graph beyond:
    slower to build than inverted lists, but far better at finding the nearest.  ``ivf`` and
    ``hnsw`` stay exact while they hold fewer than ``smallest`` vectors.

    Args:
        dim: length of a vector.
        kind: ``auto``, or always ``exact``, ``ivf`` or ``hnsw``.
        exact_until: ``auto`` is exact up to this many vectors.
        smallest: from this many vectors on ``ivf`` and ``hnsw`` are what they are called.
        lists: inverted lists of ``ivf``; ``None`` takes twice the root of the count.
        probes: lists that one query of ``ivf`` looks into; ``None`` takes a third of them.
        neighbours: of a vector in the graph of ``hnsw``.
        effort: ``efSearch`` of ``hnsw``: candidates kept during a walk.
        coarse_from: from this many vectors on an exact search looks at rounded ones first, which
            take a quarter of the memory again; the answer stays the same.

    """

    def __init__(
        self,
        dim: int,
        *,
        kind: Kind = "auto",
        exact_until: int = 100_000,
        smallest: int = 1_000,
        lists: int | None = None,
        probes: int | None = None,
        neighbours: int = 32,
        effort: int = 256,
        coarse_from: int = COARSE_FROM,
    ) -> None:
        super().__init__(dim)
        if kind not in ("auto", "exact", "ivf", "hnsw"):
            raise InvalidInputError(f"kind must be auto, exact, ivf or hnsw; got {kind!r}")
        for name, value in (
            ("exact_until", exact_until),
            ("smallest", smallest),
            ("lists", lists),
            ("probes", probes),
            ("neighbours", neighbours),
            ("effort", effort),
            ("coarse_from", coarse_from),
        ):
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} must be at least 1; got {value}")
        self._kind: Kind = kind
        self._exact_until = exact_until
        self._smallest = smallest
        self._lists = lists
        self._probes = probes
        self._neighbours = neighbours
        self._effort = effort
        self._coarse_from = coarse_from
        self._stored: set[int] = set()
        self._store: FaissStore = ExactStore(dim, coarse_from=coarse_from)

    @property
    def structure(self) -> str:
        """What holds the vectors now: ``exact``, ``ivf`` or ``hnsw``."""
        return self._store.kind

    def __len__(self) -> int:
        return len(self._stored)

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Store the vectors, in another structure once there are enough; see the base class."""
        keys, vectors = self.checked_entries(keys, vectors, self._stored)
        if not len(keys):
            return
        if self._fitting(len(self) + len(keys)) != self._store.kind:
            old = self.keys()
            together = np.concatenate([old, keys])
            rows = np.concatenate([self._store.vectors(old), vectors]) if len(old) else vectors
            self._store = self._built(together, rows)
        else:
            self._store.add(keys, vectors)
        self._stored.update(keys.tolist())
        self._mend()

    def remove(self, keys: Keys) -> int:
        """Forget the vectors; see the base class."""
        gone = self._stored.intersection(np.asarray(keys).tolist())
        if gone:
            self._store.remove(np.array(sorted(gone), dtype=np.int64))
            self._stored -= gone
            self._mend()
        return len(gone)

    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Search the structure in use; see the base class."""
        queries = self.checked_query(queries, k)
        result = SearchResult.empty(len(queries), k)
        found = min(k, len(self))
        if found and len(queries):
            with _single_threaded(len(queries) * len(self) <= _WORTH_A_TEAM):
                hits = self._store.search(queries, found)
            result.keys[:, :found] = hits.keys
            result.similarities[:, :found] = hits.similarities
        return result

    def keys(self) -> Keys:
        """Return the stored keys; see the base class."""
        return np.array(sorted(self._stored), dtype=np.int64)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors; see the base class."""
        keys = np.asarray(keys, dtype=np.int64)
        missing = [key for key in keys.tolist() if key not in self._stored]
        if missing:
            raise InvalidInputError(f"key {missing[0]} is not stored")
        if not len(keys):
            return np.empty((0, self.dim), dtype=np.float32)
        return self._store.vectors(keys)

    def save(self, folder: Path) -> None:
        """Write keys and structure; see the base class.

        Inverted lists are written as plain vectors, and trained anew when they are loaded.
        """
        index, keys = self._store.to_faiss(self.keys())
        # A map carries the key of each row into the file; it may only be made empty.
        mapped = faiss.IndexIDMap(faiss.IndexFlatIP(self.dim))
        mapped.index = index
        mapped.ntotal = len(keys)
        faiss.copy_array_to_vector(keys, mapped.id_map)
        facts = {
            "index": "faiss",
            "dim": self.dim,
            "count": len(self),
            "structure": self.structure,
            "options": {
                "kind": self._kind,
                "exact_until": self._exact_until,
                "smallest": self._smallest,
                "lists": self._lists,
                "probes": self._probes,
                "neighbours": self._neighbours,
                "effort": self._effort,
                "coarse_from": self._coarse_from,
            },
        }
        write_folder(folder, facts, ".faiss", lambda path: faiss.write_index(mapped, str(path)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; see the base class."""
        manifest, path = read_folder(folder, "faiss")
        try:
            index = cls(manifest["dim"], **manifest["options"])
            mapped = faiss.read_index(str(path))
            keys = faiss.vector_to_array(mapped.id_map).astype(np.int64)
            if mapped.d != index.dim:
                raise InvalidInputError(f"{path} does not hold what its manifest says")
            if manifest["structure"] == "hnsw":
                index._store = GraphStore(
                    keys,
                    np.empty((0, index.dim), dtype=np.float32),
                    neighbours=index._neighbours,
                    effort=index._effort,
                    index=faiss.clone_index(mapped.index),
                )
            elif len(keys):
                index._store.add(keys, mapped.index.reconstruct_n(0, len(keys)))
            index._stored = set(keys[keys != NO_KEY].tolist())
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise InvalidInputError(f"{folder} holds no usable FAISS index: {error}") from error
        if len(index) != manifest["count"]:
            raise InvalidInputError(f"{path} does not hold what its manifest says")
        if index._fitting(len(index)) != index._store.kind:
            index._rebuild()
        return index

    def _fitting(self, n: int) -> str:
        """Name the structure that ``n`` vectors belong in.

        A structure once grown into is kept until the count has halved, so that adding and removing
        around the border does not build it anew each time.
        """
        border = self._exact_until if self._kind == "auto" else self._smallest - 1
        large = "hnsw" if self._kind == "auto" else self._kind
        if self._store.kind == large:
            border //= 2
        return large if n > border else "exact"

    def _built(self, keys: Keys, vectors: Vectors) -> FaissStore:
        kind = self._fitting(len(keys))
        if kind == "ivf":
            return InvertedStore(keys, vectors, lists=self._lists, probes=self._probes)
        if kind == "hnsw":
            return GraphStore(keys, vectors, neighbours=self._neighbours, effort=self._effort)
        store = ExactStore(self.dim, coarse_from=self._coarse_from)
        if len(keys):
            store.add(keys, vectors)
        return store

    def _mend(self) -> None:
        """Build the structure anew where it is worn, or no longer the fitting one."""
        if self._store.worn() or self._fitting(len(self)) != self._store.kind:
            self._rebuild()

    def _rebuild(self) -> None:
        keys = self.keys()
        self._store = self._built(keys, self.vectors(keys))
