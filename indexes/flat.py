"""The exact index in plain numpy: the oracle that every other index is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import load_file, save_file

from memedit.errors import InvalidInputError
from memedit.indexes.base import NO_KEY, Keys, SearchResult, VectorIndex, Vectors
from memedit.indexes.folder import read_folder, write_folder
from memedit.registry import register


@register("flat")
class FlatIndex(VectorIndex):
    """Compares every query with every vector."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._keys = np.empty(16, dtype=np.int64)
        self._vectors = np.empty((16, dim), dtype=np.float32)
        self._rows: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Store the vectors in rows after the last; see the base class."""
        keys, vectors = self.checked_entries(keys, vectors, self._rows)
        start, stop = len(self), len(self) + len(keys)
        if stop > len(self._keys):
            # Both arrays are made before either is kept: out of memory leaves the index as it was.
            room = max(stop, 2 * len(self._keys))
            wider_keys = np.empty(room, dtype=np.int64)
            wider_vectors = np.empty((room, self.dim), dtype=np.float32)
            wider_keys[:start] = self._keys[:start]
            wider_vectors[:start] = self._vectors[:start]
            self._keys, self._vectors = wider_keys, wider_vectors
        self._keys[start:stop] = keys
        self._vectors[start:stop] = vectors
        self._rows.update(zip(keys.tolist(), range(start, stop), strict=True))

    def remove(self, keys: Keys) -> int:
        """Fill each freed row with the last one; see the base class."""
        before = len(self)
        for key in np.asarray(keys).tolist():
            row = self._rows.pop(key, None)
            if row is None:
                continue
            last = len(self._rows)
            if row != last:
                moved = int(self._keys[last])
                self._keys[row] = moved
                self._vectors[row] = self._vectors[last]
                self._rows[moved] = row
        return before - len(self)

    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Rank all vectors; equal similarities come in the order of their keys."""
        queries = self.checked_query(queries, k)
        result = SearchResult.empty(len(queries), k)
        found = min(k, len(self))
        if not found:
            return result
        keys, vectors = self._keys[: len(self)], self._vectors[: len(self)]
        similarities = queries @ vectors.T  # [n_queries, n]
        for row, ranked in enumerate(similarities):
            if found < len(self):
                # Everything that ties with the k-th best stays in, so that ties are cut by key.
                floor = np.partition(ranked, len(self) - found)[len(self) - found]
                kept = np.flatnonzero(ranked >= floor)
            else:
                kept = np.arange(len(self))
            best = kept[np.lexsort((keys[kept], -ranked[kept]))][:found]
            result.keys[row, :found] = keys[best]
            result.similarities[row, :found] = ranked[best]
        return result

    def keys(self) -> Keys:
        """Return the stored keys; see the base class."""
        return np.sort(self._keys[: len(self)])

    def vectors(self, keys: Keys) -> Vectors:
        """Return the stored vectors; see the base class."""
        try:
            rows = [self._rows[key] for key in np.asarray(keys).tolist()]
        except KeyError as error:
            raise InvalidInputError(f"key {error} is not stored") from None
        return self._vectors[rows].reshape(len(rows), self.dim)

    def save(self, folder: Path) -> None:
        """Write keys and vectors as safetensors; see the base class."""
        tensors: dict[str, npt.NDArray[Any]] = {
            "keys": self._keys[: len(self)].copy(),
            "vectors": self._vectors[: len(self)].copy(),
        }
        facts = {"index": "flat", "dim": self.dim, "count": len(self)}
        write_folder(folder, facts, ".safetensors", lambda path: save_file(tensors, path))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; see the base class."""
        manifest, path = read_folder(folder, "flat")
        try:
            tensors = load_file(path)
            keys, vectors = tensors["keys"], tensors["vectors"]
        except (safetensors.SafetensorError, KeyError, OSError) as error:
            raise InvalidInputError(f"{path} holds no flat index: {error}") from error
        if len(keys) != manifest["count"] or NO_KEY in keys:
            raise InvalidInputError(f"{path} does not hold what its manifest says")
        index = cls(manifest["dim"])
        index.add(keys, vectors)
        return index
