"""A first look at all vectors: a byte a number, and how far the answer can be off."""

from __future__ import annotations

from typing import Any, Final

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from memedit.indexes.base import Keys, Vectors

faiss: Any = _faiss  # its own type stubs know neither keyword arguments nor numpy

Rows = npt.NDArray[np.int64]
Bounds = npt.NDArray[np.float64]

_STEPS: Final = 127
"""What a code counts to, on either side of zero."""
_HEADROOM: Final = 1.1
"""Room for numbers larger than those seen so far: all codes are made anew when it is used up."""
_FLOAT32: Final = np.finfo(np.float32)
_AT_ONCE: Final = 4_096
"""Vectors that are rounded at once, in float64."""


class CoarseVectors:
    """Vectors rounded to a byte a number, in the order of the rows that they were made from.

    Comparing with them reads a quarter of what the vectors themselves take, which is what a search
    of a small index costs.  Queries are rounded, too: FAISS compares such codes in integers, at
    lengths that are multiples of 16, and takes a query's numbers for integers there.  What the
    rounding can change is known, since it is measured for every vector and query: with
    ``v = c + r`` and ``q = d + s`` (codes and remainders)
    ``|q v - d c| <= |q| |r| + |s| (|v| + |r|)``, to which comes what adding up ``dim`` products in
    float32 can lose.  So whoever takes all rows whose rounded similarity plus ``slack`` reaches a
    similarity has missed none that does.

    ``IndexScalarQuantizer`` of the type ``8bit_direct_signed``, with codes that are made here: its
    other 8-bit types are trained, so nothing would be known of vectors added later, and slower.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._limit = 0.0  # the largest number that a code can stand for
        self._remainder = 0.0  # the longest r
        self._length = 0.0  # the longest v
        self._index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def holds(self, vectors: Vectors) -> bool:
        """Tell whether ``vectors`` can be added; else all are to be rounded anew, by ``made``."""
        return _largest(vectors) <= self._limit

    @classmethod
    def made(cls, vectors: Vectors) -> CoarseVectors:
        """Round ``vectors`` float32 ``[n, dim]``."""
        coarse = cls(vectors.shape[1])
        coarse._limit = _HEADROOM * _largest(vectors) or 1.0
        coarse.add(vectors)
        return coarse

    def add(self, vectors: Vectors) -> None:
        """Append rows; ``holds`` says whether it may be called."""
        for start in range(0, len(vectors), _AT_ONCE):
            part = vectors[start : start + _AT_ONCE].astype(np.float64)
            codes = np.rint(part * (_STEPS / self._limit))
            remainders = part - codes * (self._limit / _STEPS)
            self._remainder = max(self._remainder, _longest(remainders))
            self._length = max(self._length, _longest(part))
            self._index.add(codes.astype(np.float32))

    def remove(self, holes: Rows, moved: Rows, n: int) -> None:
        """Put the rows ``moved`` into ``holes``, then cut all behind the first ``n`` off."""
        remove_rows(self._index, self._index.codes.data(), holes, moved, n)

    def search(self, queries: Vectors, n: int) -> tuple[Rows, Bounds]:
        """Find the rows that are most similar when rounded.

        Args:
            queries: float32 ``[n_queries, dim]``.
            n: the number of rows, at most that of all.

        Returns:
            The rows, int64 ``[n_queries, n]``, and for each query what no row beside those can
            exceed when compared in float32, float64 ``[n_queries]``; NaN or infinite where the
            numbers are too large for this to be known.

        """
        exact = queries.astype(np.float64)
        limits = np.abs(exact).max(axis=1, keepdims=True)
        limits[limits == 0] = 1.0
        codes = np.rint(exact / limits * _STEPS)
        similarities, rows = self._index.search(codes.astype(np.float32), n)
        scale = limits[:, 0] / _STEPS * (self._limit / _STEPS)
        last = similarities[:, -1].astype(np.float64) * scale
        return rows, last + self._slack(_lengths(exact), _lengths(exact - codes * limits / _STEPS))

    def _slack(self, lengths: Bounds, remainders: Bounds) -> Bounds:
        """Bound what comparing codes is off by, for queries of these lengths and remainders."""
        # Of a sum of products in float32, whatever the order: Higham 2002, eq. 3.4.  It is made
        # twice, of the codes (no longer than a vector and its remainder together) and of the
        # vectors.
        lost = self._dim * 2.0**-24
        lost /= 1 - lost
        longest = self._length + self._remainder
        slack = lengths * (self._remainder + lost * self._length)
        slack += remainders * longest + lost * (lengths + remainders) * longest
        tiny = self._dim * float(_FLOAT32.tiny)  # below it float32 rounds more coarsely
        slack = slack * (1 + 1e-9) + tiny  # 1e-9: of the float64 arithmetic here
        # a sum that overflows on its way may come out as NaN, which a search passes over
        bounds: Bounds = np.where(lengths * longest < _FLOAT32.max, slack, np.inf)
        return bounds


def remove_rows(index: Any, data: Any, holes: Rows, moved: Rows, n: int) -> None:
    """Fill holes of a flat FAISS index with later rows and cut it off: nothing else is moved.

    Args:
        index: any ``IndexFlatCodes``.
        data: SWIG's pointer to its first number.
        holes: rows below ``n`` that go.
        moved: as many rows from ``n`` on that stay.
        n: rows that are left.

    """
    if len(holes):
        count = int(index.ntotal)
        numbers = faiss.rev_swig_ptr(data, count * index.d).reshape(count, index.d)
        numbers[holes] = numbers[moved]
    index.remove_ids(faiss.IDSelectorRange(n, int(index.ntotal)))


def best_of(keys: Keys, similarities: Vectors, k: int) -> tuple[Keys, Vectors]:
    """Return the ``k`` best of each row, most similar first, and equal ones by their keys."""
    order = np.lexsort((keys, -similarities), axis=-1)[:, :k]
    rows = np.arange(len(keys))[:, None]
    return keys[rows, order], similarities[rows, order]


def _largest(vectors: Vectors) -> float:
    return max(float(vectors.max(initial=0)), -float(vectors.min(initial=0)))


def _lengths(rows: npt.NDArray[np.float64]) -> Bounds:
    lengths: Bounds = np.sqrt(np.square(rows).sum(axis=1))
    return lengths


def _longest(rows: npt.NDArray[np.float64]) -> float:
    return float(_lengths(rows).max(initial=0))
