"""The three ways in which FAISS holds vectors: exact, inverted lists, a graph.

Each store does what ``FaissIndex`` needs with int64 keys; inputs are already checked.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import faiss as _faiss
import numpy as np

from memedit.errors import InvalidInputError
from memedit.indexes.base import NO_KEY, Keys, SearchResult, Vectors
from memedit.indexes.coarse import CoarseVectors, best_of, remove_rows

faiss: Any = _faiss  # its own type stubs know neither keyword arguments nor numpy


class FaissStore(ABC):
    """Vectors in one FAISS structure."""

    kind: ClassVar[str]

    @abstractmethod
    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Store vectors under new keys."""

    @abstractmethod
    def remove(self, keys: Keys) -> None:
        """Forget stored keys."""

    @abstractmethod
    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Search; every place is filled that can be."""

    @abstractmethod
    def vectors(self, keys: Keys) -> Vectors:
        """Return the vectors of stored keys, float32 ``[n, dim]``."""

    @abstractmethod
    def worn(self) -> bool:
        """Tell whether the store should be built anew from its live vectors."""

    @abstractmethod
    def to_faiss(self, keys: Keys) -> tuple[Any, Keys]:
        """Return the FAISS index to write, and the key of each of its rows (or ``NO_KEY``).

        ``keys`` are all that are stored.
        """


COARSE_FROM = 4_096
"""Vectors from which an exact search looks at rounded ones first."""


class ExactStore(FaissStore):
    """``IndexFlatIP``: nothing is missed.

    From ``coarse_from`` vectors on a search compares all with the query rounded to a byte a number
    (see ``CoarseVectors``), and the most similar of them in float32.  Where the bound on what
    rounding changes does not rule out all others it takes more of them, and at last compares all
    in float32.  So what it returns is what comparing all returns, to the bit; only of equally
    similar vectors it may be others.

    Args:
        dim: length of a vector.
        coarse_from: ``None``: always compare all in float32.

    """

    kind = "exact"

    def __init__(self, dim: int, *, coarse_from: int | None = COARSE_FROM) -> None:
        self._index = faiss.IndexFlatIP(dim)
        self._keys = np.empty(0, dtype=np.int64)  # of each row
        self._rows: dict[int, int] = {}
        self._coarse_from = coarse_from
        self._coarse: CoarseVectors | None = None

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Append."""
        first = int(self._index.ntotal)
        self._index.add(vectors)
        self._keys = np.concatenate([self._keys[:first], keys])
        self._rows.update(zip(keys.tolist(), range(first, first + len(keys)), strict=True))
        if self._coarse is not None and self._coarse.holds(vectors):
            self._coarse.add(vectors)
        elif self._coarse is not None or self._worth_rounding():
            count = int(self._index.ntotal)
            numbers = faiss.rev_swig_ptr(self._index.get_xb(), count * self._index.d)
            self._coarse = CoarseVectors.made(numbers.reshape(count, self._index.d))

    def _worth_rounding(self) -> bool:
        return self._coarse_from is not None and self._index.ntotal >= self._coarse_from

    def remove(self, keys: Keys) -> None:
        """Fill the gaps with the last vectors."""
        rows = np.array([self._rows.pop(key) for key in keys.tolist()], dtype=np.int64)
        before = int(self._index.ntotal)
        n = before - len(rows)
        if n == 0:
            self._coarse = None  # what comes next may be of another size
        holes = rows[rows < n]
        moved = np.setdiff1d(np.arange(n, before), rows, assume_unique=True)
        self._keys[holes] = self._keys[moved]
        self._rows.update(zip(self._keys[holes].tolist(), holes.tolist(), strict=True))
        self._keys = self._keys[:n]
        remove_rows(self._index, self._index.get_xb(), holes, moved, n)
        if self._coarse is not None:
            self._coarse.remove(holes, moved, n)

    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Compare all, rounded where that is worth it."""
        if self._coarse is None:
            return self._flat(queries, k)
        result = SearchResult.empty(len(queries), k)
        unsure = np.arange(len(queries))
        for looked_at in (max(128, 4 * k), 8 * max(128, 4 * k)):
            if not len(unsure) or 4 * looked_at > self._index.ntotal:
                break
            asked = queries if len(unsure) == len(queries) else queries[unsure]
            rows, beyond = self._coarse.search(asked, looked_at)
            similarities = self._compared(asked, rows)
            keys, best = best_of(self._keys[rows], similarities, k)
            # not finite: nothing is known.  Else nothing beyond `rows` is as similar as the k-th.
            sure = np.isfinite(beyond) & (best[:, -1] > beyond)
            if len(keys) == len(queries) and sure.all():
                return SearchResult(keys, best)
            result.keys[unsure[sure]] = keys[sure]
            result.similarities[unsure[sure]] = best[sure]
            unsure = unsure[~sure]
        if len(unsure):
            whole = self._flat(np.ascontiguousarray(queries[unsure]), k)
            result.keys[unsure], result.similarities[unsure] = whole.keys, whole.similarities
        return result

    def _compared(self, queries: Vectors, rows: Keys) -> Vectors:
        """Return the similarities of each query to rows of its own, as a flat search has them."""
        similarities = np.empty(rows.shape, dtype=np.float32)
        self._index.compute_distance_subset(
            len(queries),
            faiss.swig_ptr(queries),
            rows.shape[1],
            faiss.swig_ptr(similarities),
            faiss.swig_ptr(rows),
        )
        return similarities

    def _flat(self, queries: Vectors, k: int) -> SearchResult:
        similarities, rows = self._index.search(queries, k)
        return _cleaned(np.where(rows >= 0, self._keys[rows], NO_KEY), similarities)

    def vectors(self, keys: Keys) -> Vectors:
        """Copy the vectors out of the rows."""
        rows = np.array([self._rows[key] for key in keys.tolist()], dtype=np.int64)
        return _reconstructed(self._index, rows)

    def worn(self) -> bool:
        """Never: a removed vector leaves nothing behind."""
        return False

    def to_faiss(self, keys: Keys) -> tuple[Any, Keys]:
        """Return the vectors as they are; rounded ones are made anew when they are loaded."""
        return self._index, self._keys


class InvertedStore(FaissStore):
    """``IndexIVFFlat``: a query looks into the nearest ``probes`` of the lists only.

    Trained on the vectors it is made with; built anew once it has grown to four times as many, or
    has shrunk to a quarter.  The key of a vector is its id in the lists, and a hash table leads to
    it, so that removal is real and cheap.
    """

    kind = "ivf"

    def __init__(
        self, keys: Keys, vectors: Vectors, *, lists: int | None, probes: int | None
    ) -> None:
        n, dim = vectors.shape
        # FAISS wants 39 training points per list, and warns on stderr below that.
        n_lists = max(1, min(lists or int(2 * math.sqrt(n)), n // 39))
        self._trained_on = n
        self._probes = min(n_lists, probes or max(16, n_lists // 3))
        self._quantizer = faiss.IndexFlatIP(dim)  # must outlive the index that reads it
        self._index = faiss.IndexIVFFlat(self._quantizer, dim, n_lists, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.max_points_per_centroid = 128
        self._index.cp.min_points_per_centroid = 1
        self._index.train(vectors)
        self._index.set_direct_map_type(faiss.DirectMap.Hashtable)
        self.add(keys, vectors)

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Put each vector into the list of its nearest centroid."""
        self._index.add_with_ids(vectors, keys)

    def remove(self, keys: Keys) -> None:
        """Take the vectors out of their lists."""
        self._index.remove_ids(faiss.IDSelectorArray(keys))

    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Probe lists; look into more of them for queries that found fewer than ``k``."""
        wanted = min(k, self._index.ntotal)

        def look(rows: Vectors, effort: int) -> SearchResult:
            parameters = faiss.SearchParametersIVF(nprobe=effort)
            similarities, keys = self._index.search(rows, k, params=parameters)
            return _cleaned(keys, similarities)

        return _filled(look, queries, wanted, self._probes, self._index.nlist)

    def vectors(self, keys: Keys) -> Vectors:
        """Copy the vectors out of the lists."""
        return _reconstructed(self._index, keys)

    def worn(self) -> bool:
        """Tell whether the centroids were trained on far fewer, or far more, vectors."""
        n = int(self._index.ntotal)
        return not self._trained_on / 4 <= n <= self._trained_on * 4

    def to_faiss(self, keys: Keys) -> tuple[Any, Keys]:
        """Return the vectors alone: the lists are trained anew when they are loaded."""
        plain = ExactStore(self._index.d, coarse_from=None)
        plain.add(keys, self.vectors(keys))
        return plain.to_faiss(keys)


class GraphStore(FaissStore):
    """``IndexHNSWFlat``: a walk over a graph of neighbours.

    FAISS cannot take a vector out of such a graph.  A removed one stays as a stepping stone that
    no search returns, until a quarter of the graph is such stones and it is built anew.
    """

    kind = "hnsw"

    def __init__(
        self, keys: Keys, vectors: Vectors, *, neighbours: int, effort: int, index: Any = None
    ) -> None:
        self._effort = effort
        if index is None:
            dim = vectors.shape[1]
            index = faiss.IndexHNSWFlat(dim, neighbours, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = max(80, 2 * neighbours)
            index.add(vectors)
        self._index = index
        self._keys = keys.copy()  # of each row; NO_KEY marks a stone
        self._rows = {key: row for row, key in enumerate(keys.tolist()) if key != NO_KEY}

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Weave the vectors into the graph."""
        first = int(self._index.ntotal)
        self._index.add(vectors)
        self._keys = np.concatenate([self._keys[:first], keys])
        self._rows.update(zip(keys.tolist(), range(first, first + len(keys)), strict=True))

    def remove(self, keys: Keys) -> None:
        """Turn the rows into stones."""
        for key in keys.tolist():
            self._keys[self._rows.pop(key)] = NO_KEY

    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Walk the graph, harder for queries that found fewer than ``k``; at last compare all."""
        wanted = min(k, len(self._rows))
        selector = None
        if len(self._rows) < len(self._keys):
            # reads all keys, so only where there are stones
            live = np.packbits(self._keys != NO_KEY, bitorder="little")
            selector = faiss.IDSelectorBitmap(live)

        def look(rows: Vectors, effort: int) -> SearchResult:
            parameters = faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
            similarities, found = self._index.search(rows, k, params=parameters)
            keys = np.where(found >= 0, self._keys[found], NO_KEY)
            return _cleaned(keys, similarities)

        result = _filled(look, queries, wanted, max(self._effort, 2 * k), 16 * self._effort)
        short = np.flatnonzero((result.keys != NO_KEY).sum(axis=1) < wanted)
        if len(short):
            every = np.fromiter(self._rows, dtype=np.int64, count=len(self._rows))
            exact = ExactStore(queries.shape[1], coarse_from=None)
            exact.add(every, self.vectors(every))
            full = exact.search(queries[short], k)
            result.keys[short], result.similarities[short] = full.keys, full.similarities
        return result

    def vectors(self, keys: Keys) -> Vectors:
        """Copy the vectors out of the rows."""
        rows = np.array([self._rows[key] for key in keys.tolist()], dtype=np.int64)
        return _reconstructed(self._index, rows)

    def worn(self) -> bool:
        """Tell whether more than a quarter of the graph is stones."""
        return 4 * len(self._rows) < 3 * len(self._keys)

    def to_faiss(self, keys: Keys) -> tuple[Any, Keys]:
        """Return the graph; its rows keep their stones."""
        return self._index, self._keys


def _filled(look: Any, queries: Vectors, wanted: int, effort: int, most: int) -> SearchResult:
    """Search with ``effort``, and again with four times as much where places stayed empty."""
    result: SearchResult = look(queries, effort)
    while effort < most:
        short = np.flatnonzero((result.keys != NO_KEY).sum(axis=1) < wanted)
        if not len(short):
            break
        effort = min(most, 4 * effort)
        again = look(np.ascontiguousarray(queries[short]), effort)
        result.keys[short], result.similarities[short] = again.keys, again.similarities
    return result


def _reconstructed(index: Any, keys: Keys) -> Vectors:
    try:
        found: Vectors = index.reconstruct_batch(keys)
    except RuntimeError as error:
        raise InvalidInputError(f"a key is not stored: {error}") from None
    return found


def _cleaned(keys: Keys, similarities: Vectors) -> SearchResult:
    """Give empty places the values that the contract names; FAISS writes the lowest float."""
    return SearchResult(keys, np.where(keys == NO_KEY, np.float32(-np.inf), similarities))
