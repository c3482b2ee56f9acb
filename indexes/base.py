"""What a vector index promises: exact keys, similarity by inner product."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError

Keys = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
NO_KEY = -1
"""Fills the places of a search result beyond the vectors that are there."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The nearest vectors of each query, most similar first."""

    keys: Keys
    """int64 ``[n_queries, k]``; ``NO_KEY`` where fewer than ``k`` vectors are stored."""
    similarities: Vectors
    """float32 ``[n_queries, k]``, inner products; ``-inf`` beside ``NO_KEY``."""

    @classmethod
    def empty(cls, n_queries: int, k: int) -> SearchResult:
        """Return a result without any hit."""
        return cls(
            np.full((n_queries, k), NO_KEY, dtype=np.int64),
            np.full((n_queries, k), -np.inf, dtype=np.float32),
        )


class VectorIndex(ABC):
    """Keys (int64, unique, not negative) to vectors (float32 ``[dim]``).

    Not safe for concurrent use: the owner holds a lock.
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise InvalidInputError(f"an index needs vectors of at least one number; got dim {dim}")
        self.dim = dim

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of stored vectors."""

    @abstractmethod
    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Store ``vectors`` float32 ``[n, dim]`` under ``keys`` int64 ``[n]``.

        Raises:
            InvalidInputError: wrong shape, not finite, a negative or a known key; nothing stored.

        """

    @abstractmethod
    def remove(self, keys: Keys) -> int:
        """Forget the vectors under ``keys`` (unknown ones are ignored); return how many went."""

    @abstractmethod
    def search(self, queries: Vectors, k: int) -> SearchResult:
        """Find the ``k`` most similar vectors for each of ``queries`` float32 ``[n, dim]``.

        Raises:
            InvalidInputError: wrong shape, not finite, or ``k`` under 1.

        """

    @abstractmethod
    def keys(self) -> Keys:
        """Return the keys of all stored vectors, int64 ``[n]``, ascending."""

    @abstractmethod
    def vectors(self, keys: Keys) -> Vectors:
        """Return the vectors under ``keys``, float32 ``[n, dim]``.

        Raises:
            InvalidInputError: a key is not stored.

        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index into ``folder`` (created; replaced atomically).  Nothing is pickled."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; a damaged or foreign folder raises ``InvalidInputError``."""

    def checked_entries(
        self, keys: Keys, vectors: Vectors, known: Container[int]
    ) -> tuple[Keys, Vectors]:
        """Return what ``add`` got as contiguous int64 and float32 arrays, or refuse it.

        Raises:
            InvalidInputError: as ``add`` says; ``known`` holds the keys already stored.

        """
        vectors = self.checked_rows(vectors, "vectors")
        keys = _checked_keys(keys)
        if len(keys) != len(vectors):
            raise InvalidInputError(
                f"got {len(keys)} keys for {len(vectors)} vectors; give one key per vector"
            )
        if len(keys) and int(keys.min()) < 0:
            raise InvalidInputError(f"keys must not be negative; got {int(keys.min())}")
        seen: set[int] = set()
        for key in keys.tolist():
            if key in known or key in seen:
                raise InvalidInputError(f"key {key} is already stored; remove it first")
            seen.add(key)
        return keys, vectors

    def checked_rows(self, rows: Vectors, name: str) -> Vectors:
        """Return ``rows`` as contiguous float32 ``[n, dim]``, or refuse them.

        Raises:
            InvalidInputError: another shape, or numbers that are not finite.

        """
        try:
            array = np.ascontiguousarray(rows, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{name} must be numbers: {error}") from None
        if array.ndim != 2 or array.shape[1] != self.dim:
            raise InvalidInputError(
                f"{name} must have the shape [n, {self.dim}]; got {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise InvalidInputError(f"{name} must be finite; got NaN or infinity")
        return array

    def checked_query(self, queries: Vectors, k: int) -> Vectors:
        """Return ``queries`` as contiguous float32 ``[n, dim]``, or refuse them, or ``k``."""
        if k < 1:
            raise InvalidInputError(f"k must be at least 1; got {k}")
        return self.checked_rows(queries, "queries")


def _checked_keys(keys: Keys) -> Keys:
    array = np.asarray(keys)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidInputError(
            f"keys must be a flat array of integers; got {array.dtype} {list(array.shape)}"
        )
    return np.ascontiguousarray(array, dtype=np.int64)
