"""Rounded vectors looked at first: the answer is that of comparing all, whatever the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memedit.indexes.base import Vectors
from memedit.indexes.coarse import CoarseVectors
from memedit.indexes.faiss_index import FaissIndex
from memedit.indexes.faiss_stores import ExactStore

DIM = 32
ODD = 24
"""FAISS compares codes by other code where a length is no multiple of 16."""


def unit(rows: np.ndarray) -> Vectors:
    lengths: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


def spread(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    return unit(draw.standard_normal((n, dim)))


def clustered(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    """Twenty tight groups: hundreds of neighbours closer than rounding can tell apart."""
    centres = draw.standard_normal((20, dim))
    return unit(centres[draw.integers(0, 20, n)] + 0.01 * draw.standard_normal((n, dim)))


def duplicated(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    return spread(7, draw, dim)[draw.integers(0, 7, n)]


def few_duplicated(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    return spread(n // 3, draw, dim)[draw.integers(0, n // 3, n)]


def of_any_length(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    lengths = np.exp(draw.uniform(-40, 40, (n, 1)))
    return (spread(n, draw, dim) * lengths).astype(np.float32)


def with_outliers(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    rows = spread(n, draw, dim)
    rows[draw.integers(0, n, 3)] = np.eye(dim, dtype=np.float32)[:3]
    return rows


def growing(n: int, draw: np.random.Generator, dim: int = DIM) -> Vectors:
    return (spread(n, draw, dim) * np.linspace(0.01, 5, n)[:, None]).astype(np.float32)


KINDS = [spread, clustered, duplicated, few_duplicated, of_any_length, with_outliers, growing]


def assert_same_answer(index: FaissIndex, queries: Vectors, k: int) -> None:
    """The similarities are those of a flat search to the bit, and a brute force agrees."""
    keys = index.keys()
    rows = index.vectors(keys)
    plain = ExactStore(index.dim, coarse_from=None)
    plain.add(keys, rows)
    found, truth = index.search(queries, k), plain.search(queries, k)
    assert (found.similarities == truth.similarities).all()
    whole = queries.astype(np.float64) @ rows.astype(np.float64).T  # [n_queries, n]
    at = {key: row for row, key in enumerate(keys.tolist())}
    sizes = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    for row, mine in enumerate(found.keys.tolist()):
        assert len(set(mine)) == k
        places = [at[key] for key in mine]
        allowed = 1e-5 * np.maximum(1, sizes[row])
        off = np.abs(whole[row, places] - found.similarities[row])
        assert (off <= allowed[places]).all()
        beside = np.delete(np.arange(len(keys)), places)
        worst = whole[row, places].min()
        assert (whole[row, beside] <= worst + allowed[beside] + allowed[places].max()).all()
        # keys may only differ among equals at the border
        over = truth.similarities[row] > truth.similarities[row, -1]
        assert set(truth.keys[row, over].tolist()) <= set(mine)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(("seed", "dim"), [(0, DIM), (1, DIM), (2, ODD)])
def test_any_churn_answers_as_comparing_all_does(make, seed: int, dim: int) -> None:  # type: ignore[no-untyped-def]
    draw = np.random.default_rng(seed)
    vectors = make(6_000, draw, dim)
    index, held = FaissIndex(dim, coarse_from=512), set[int]()
    for turn in range(4):
        new = np.array(sorted(set(draw.integers(0, 6_000, 2_000).tolist()) - held))
        index.add(new, vectors[new])
        held |= set(new.tolist())
        gone = draw.choice(sorted(held), int(draw.integers(0, len(held) // 2)), replace=False)
        assert index.remove(gone) == len(gone)
        held -= set(gone.tolist())
        assert index.keys().tolist() == sorted(held)
        assert (index.vectors(index.keys()) == vectors[index.keys()]).all()
        near = vectors[draw.integers(0, 6_000, 6)]
        queries = np.concatenate([near, spread(3, draw, dim), np.zeros((1, dim), dtype=np.float32)])
        for k in (1, 20, 45):
            assert_same_answer(index, queries, k)
            assert_same_answer(index, queries[turn : turn + 1], k)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("dim", [DIM, ODD, 384])
def test_the_bound_holds_for_every_row_that_is_left_out(make, dim: int) -> None:  # type: ignore[no-untyped-def]
    draw = np.random.default_rng(9)
    vectors = make(1_000, draw, dim)
    coarse = CoarseVectors.made(vectors[:600])
    if coarse.holds(vectors[600:]):
        coarse.add(vectors[600:])
    else:
        coarse = CoarseVectors.made(vectors)
    queries = np.concatenate([vectors[:20], 1e3 * spread(20, draw, dim)]).astype(np.float32)
    rows, beyond = coarse.search(queries, 30)
    similarities = queries @ vectors.T
    for row, seen in enumerate(rows):
        left_out = np.delete(similarities[row], seen)
        assert not np.isfinite(beyond[row]) or (left_out <= beyond[row]).all()


def test_vectors_of_the_encoders_length_are_found() -> None:
    """Of 6,000 in sixty loose groups, the answers of a search and those of a brute force."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((60, 384))
    vectors = unit(centres[draw.integers(0, 60, 6_000)] + 0.5 * draw.standard_normal((6_000, 384)))
    index = FaissIndex(384)
    index.add(np.arange(6_000), vectors)
    queries = unit(vectors[:50] + 0.02 * draw.standard_normal((50, 384)))
    assert_same_answer(index, queries, 30)
    assert_same_answer(index, unit(draw.standard_normal((50, 384))), 20)


def compared_whole(index: FaissIndex, queries: Vectors, patch: pytest.MonkeyPatch) -> int:
    """Return for how many queries the index had to compare all vectors."""
    seen: list[int] = []
    plain = ExactStore._flat

    def counted(self: ExactStore, queries: Vectors, k: int):  # type: ignore[no-untyped-def]
        seen.append(len(queries))
        return plain(self, queries, k)

    patch.setattr(ExactStore, "_flat", counted)
    index.search(queries, 10)
    return sum(seen)


def test_vectors_are_compared_whole_only_where_rounding_cannot_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(0)
    apart, same = spread(5_000, draw), np.repeat(spread(1, draw), 5_000, axis=0)
    queries = spread(8, draw)
    index = FaissIndex(DIM)
    index.add(np.arange(4_000), apart[:4_000])
    assert compared_whole(index, queries, monkeypatch) == 8  # few: not worth it
    index.add(np.arange(4_000, 5_000), apart[4_000:])
    assert compared_whole(index, queries, monkeypatch) == 0
    equal = FaissIndex(DIM)
    equal.add(np.arange(5_000), same)
    assert compared_whole(equal, queries, monkeypatch) == 8


def test_sums_of_rounded_numbers_that_overflow_hide_nothing() -> None:
    vectors = np.zeros((2_000, DIM), dtype=np.float32)
    vectors[:, 0] = -1.1 / 127 * (1 + np.arange(2_000) % 100)  # codes hit them: no remainder
    # infinity in one lane of the sum, minus infinity in the next; of the vector itself it is 0
    vectors[5, [0, 8]], vectors[5, [1, 9]] = 1, -1
    query = np.zeros((1, DIM), dtype=np.float32)
    query[0, [0, 1, 8, 9]] = 2.2e36
    index = FaissIndex(DIM, coarse_from=512)
    index.add(np.arange(2_000), vectors)
    assert index.search(query, 1).keys.tolist() == [[5]]


def test_small_and_zero_vectors() -> None:
    index = FaissIndex(DIM, coarse_from=512)
    index.add(np.arange(1_000), np.zeros((1_000, DIM), dtype=np.float32))
    small = np.zeros((1, DIM), dtype=np.float32)
    small[0, 3] = 1e-42  # the smallest numbers that float32 has
    index.add(np.array([1_000]), small)
    found = index.search(np.eye(DIM, dtype=np.float32)[3:4], 1)
    assert found.keys.tolist() == [[1_000]]
    index.remove(np.arange(1_001))
    index.add(np.arange(1_000), spread(1_000, np.random.default_rng(2)))
    assert_same_answer(index, spread(3, np.random.default_rng(3)), 5)


def test_a_loaded_index_looks_at_rounded_vectors_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(4)
    index = FaissIndex(DIM, coarse_from=600)
    index.add(np.arange(2_000), spread(2_000, draw))
    index.remove(np.arange(0, 2_000, 3))
    index.save(tmp_path)
    back = FaissIndex.load(tmp_path)
    queries = spread(5, draw)
    assert_same_answer(back, queries, 10)
    assert compared_whole(back, queries, monkeypatch) == 0
