"""What a vector index promises: exact keys, similarity by inner product."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

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


class VectorIndex(ABC):
    """Keys (int64, unique, not negative) to vectors (float32 ``[dim]``).

    Not safe for concurrent use: the owner holds a lock.
    """

    def __init__(self, dim: int) -> None:
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
        """Find the ``k`` most similar vectors for each of ``queries`` float32 ``[n, dim]``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index into ``folder`` (created; replaced atomically).  Nothing is pickled."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; a damaged or foreign folder raises ``InvalidInputError``."""
