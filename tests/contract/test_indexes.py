"""One suite over every registered vector index, compared with a brute-force oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memedit.errors import InvalidInputError, UnknownNameError
from memedit.indexes.base import NO_KEY, Keys, SearchResult, VectorIndex, Vectors
from memedit.indexes.catalog import INDEXES, open_index

DIM = 16


@pytest.fixture(params=INDEXES.names())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(kind: str) -> VectorIndex:
    return open_index(kind, DIM)


class Oracle:
    """A dict of vectors, searched by sorting everything."""

    def __init__(self) -> None:
        self.rows: dict[int, Vectors] = {}

    def add(self, keys: Keys, vectors: Vectors) -> None:
        self.rows.update(zip(keys.tolist(), vectors, strict=True))

    def remove(self, keys: Keys) -> int:
        return sum(self.rows.pop(key, None) is not None for key in keys.tolist())

    def similarities(self, query: Vectors) -> dict[int, float]:
        return {key: float(np.dot(row, query)) for key, row in self.rows.items()}


def unit(rows: Vectors) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def spread(n: int, seed: int = 0, dim: int = DIM) -> Vectors:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)))


def clustered(n: int, seed: int = 0, dim: int = DIM) -> Vectors:
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((max(1, n // 20), dim))
    return unit(centres[draw.integers(0, len(centres), n)] + 0.2 * draw.standard_normal((n, dim)))


def assert_agrees(result: SearchResult, oracle: Oracle, queries: Vectors, k: int) -> None:
    """Every hit is real, sorted, unique, and nothing better was left out (up to rounding)."""
    assert result.keys.shape == result.similarities.shape == (len(queries), k)
    assert result.keys.dtype == np.int64
    assert result.similarities.dtype == np.float32
    for keys, similarities, query in zip(result.keys, result.similarities, queries, strict=True):
        truth = oracle.similarities(query)
        found = min(k, len(truth))
        assert (keys[found:] == NO_KEY).all()
        assert (similarities[found:] == -np.inf).all()
        hits = keys[:found].tolist()
        assert len(set(hits)) == found
        assert np.allclose([truth[key] for key in hits], similarities[:found], atol=1e-5)
        best = sorted(truth.values(), reverse=True)[:found]
        assert np.allclose(similarities[:found], best, atol=1e-5)


@pytest.mark.parametrize("make", [spread, clustered])
def test_search_agrees_with_the_oracle(index: VectorIndex, make: Callable[..., Vectors]) -> None:
    vectors, oracle = make(400), Oracle()
    keys = np.random.default_rng(1).permutation(400) * 7_919 + 2**40
    for start in range(0, 400, 90):
        part = slice(start, start + 90)
        index.add(keys[part], vectors[part])
        oracle.add(keys[part], vectors[part])
    queries = make(30, seed=2)
    for k in (1, 7, 400):
        assert_agrees(index.search(queries, k), oracle, queries, k)
    gone = keys[::3]
    assert index.remove(gone) == oracle.remove(gone)
    assert len(index) == len(oracle.rows)
    assert_agrees(index.search(queries, 10), oracle, queries, 10)
    assert index.keys().tolist() == sorted(oracle.rows)


def test_a_batch_finds_what_each_of_its_queries_finds(index: VectorIndex) -> None:
    index.add(np.arange(100), spread(100))
    queries = spread(9, seed=3)
    together = index.search(queries, 5)
    for row, query in enumerate(queries):
        alone = index.search(query[None], 5)
        assert alone.keys[0].tolist() == together.keys[row].tolist()


def test_more_than_there_are(index: VectorIndex) -> None:
    index.add(np.array([5, 9]), spread(2))
    result = index.search(spread(3, seed=1), 6)
    assert (result.keys[:, 2:] == NO_KEY).all()
    assert (np.sort(result.keys[:, :2], axis=1) == [5, 9]).all()


def test_an_empty_index_answers(index: VectorIndex) -> None:
    assert len(index) == 0
    result = index.search(spread(2), 3)
    assert (result.keys == NO_KEY).all()
    assert (result.similarities == -np.inf).all()
    assert index.remove(np.array([1, 2])) == 0
    assert index.keys().tolist() == []


def test_no_queries_and_no_vectors(index: VectorIndex) -> None:
    none = np.empty((0, DIM), dtype=np.float32)
    index.add(np.empty(0, dtype=np.int64), none)
    assert len(index) == 0
    index.add(np.array([1]), spread(1))
    assert index.search(none, 4).keys.shape == (0, 4)
    assert index.vectors(np.empty(0, dtype=np.int64)).shape == (0, DIM)


def test_removing_everything_and_starting_again(index: VectorIndex) -> None:
    index.add(np.arange(50), spread(50))
    assert index.remove(np.arange(60)) == 50
    assert (index.search(spread(1), 3).keys == NO_KEY).all()
    again = spread(50, seed=9)
    index.add(np.arange(50), again)
    assert index.search(again[7:8], 1).keys.tolist() == [[7]]


def test_a_removed_key_may_come_back_with_another_vector(index: VectorIndex) -> None:
    vectors = spread(20)
    index.add(np.arange(20), vectors)
    index.remove(np.array([4]))
    index.add(np.array([4]), -vectors[4:5])
    result = index.search(vectors[4:5], 20)
    assert result.keys[0, -1] == 4
    assert np.isclose(result.similarities[0, -1], -1, atol=1e-5)
    assert np.allclose(index.vectors(np.array([4, 5])), np.stack([-vectors[4], vectors[5]]))


@pytest.mark.parametrize(
    ("keys", "vectors"),
    [
        ([7], np.zeros((1, DIM + 1))),
        ([7], np.zeros(DIM)),
        ([7, 8], np.zeros((1, DIM))),
        ([7], np.full((1, DIM), np.nan)),
        ([7, 8], np.vstack([np.zeros(DIM), np.full(DIM, np.inf)])),
        ([-1], np.zeros((1, DIM))),
        ([7, -2], np.zeros((2, DIM))),
        ([7, 7], np.zeros((2, DIM))),
        ([7, 3], np.zeros((2, DIM))),
        ([[7]], np.zeros((1, DIM))),
        ([0.5], np.zeros((1, DIM))),
    ],
    ids=[
        "too long",
        "one vector without its batch",
        "more keys than vectors",
        "NaN",
        "infinity in the second",
        "negative",
        "negative second",
        "twice in one call",
        "known already",
        "keys not flat",
        "keys not integers",
    ],
)
def test_refused_input_stores_nothing(
    index: VectorIndex, keys: list[int], vectors: Vectors
) -> None:
    stored = spread(5)
    index.add(np.arange(5), stored)
    with pytest.raises(InvalidInputError):
        index.add(np.array(keys), vectors)
    assert index.keys().tolist() == [0, 1, 2, 3, 4]
    assert index.search(stored, 1).keys[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_refused_queries(index: VectorIndex) -> None:
    index.add(np.arange(5), spread(5))
    with pytest.raises(InvalidInputError):
        index.search(spread(1, dim=DIM - 1), 1)
    with pytest.raises(InvalidInputError):
        index.search(np.full((1, DIM), np.nan, dtype=np.float32), 1)
    with pytest.raises(InvalidInputError):
        index.search(spread(1), 0)
    with pytest.raises(InvalidInputError):
        index.vectors(np.array([99]))


def test_what_is_stored_is_a_copy(index: VectorIndex) -> None:
    vectors = spread(3)
    kept = vectors.copy()
    index.add(np.arange(3), vectors)
    vectors[:] = 0
    assert np.allclose(index.vectors(np.arange(3)), kept)


def test_a_saved_index_reads_back(index: VectorIndex, tmp_path: Path) -> None:
    vectors, queries = clustered(300), clustered(20, seed=4)
    index.add(np.arange(300) * 3, vectors)
    index.remove(np.arange(0, 300, 5) * 3)
    before = index.search(queries, 8)
    index.save(tmp_path / "deep" / "index")
    back = type(index).load(tmp_path / "deep" / "index")
    assert len(back) == len(index)
    after = back.search(queries, 8)
    assert after.keys.tolist() == before.keys.tolist()
    assert np.allclose(after.similarities, before.similarities)
    assert back.remove(np.array([3])) == 1  # and is as good as new
    back.add(np.array([3]), vectors[:1])
    assert back.search(vectors[:1], 1).keys.tolist() == [[3]]


def test_an_empty_index_is_saved_too(index: VectorIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    assert len(type(index).load(tmp_path)) == 0


def test_saving_again_replaces(index: VectorIndex, tmp_path: Path) -> None:
    index.add(np.arange(5), spread(5))
    index.save(tmp_path)
    index.remove(np.array([0]))
    index.save(tmp_path)
    assert type(index).load(tmp_path).keys().tolist() == [1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 2  # the manifest and one data file


def test_damaged_folders_are_refused(index: VectorIndex, tmp_path: Path) -> None:
    load = type(index).load
    with pytest.raises(InvalidInputError):
        load(tmp_path)  # empty
    index.add(np.arange(50), spread(50))
    index.save(tmp_path)
    manifest = tmp_path / "manifest.json"
    facts = json.loads(manifest.read_text())
    data = tmp_path / facts["file"]
    whole = data.read_bytes()
    data.write_bytes(whole[:-7])
    with pytest.raises(InvalidInputError):
        load(tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    data.write_bytes(flipped)
    with pytest.raises(InvalidInputError):
        load(tmp_path)
    data.write_bytes(whole)
    assert len(load(tmp_path)) == 50
    for change in (
        {"dim": DIM + 1},
        {"dim": "16"},
        {"count": 49},
        {"index": "another"},
        {"format": "another/9"},
        {"file": "../manifest.json"},
        {"file": None},
        {"sha256": ""},
    ):
        manifest.write_text(json.dumps({**facts, **change}))
        with pytest.raises(InvalidInputError):
            load(tmp_path)
    manifest.write_text("{")
    with pytest.raises(InvalidInputError):
        load(tmp_path)
    data.unlink()
    manifest.write_text(json.dumps(facts))
    with pytest.raises(InvalidInputError):
        load(tmp_path)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sets(st.integers(0, 40), min_size=1, max_size=12)),
        st.tuples(st.just("remove"), st.sets(st.integers(0, 40), max_size=12)),
        st.tuples(st.just("search"), st.integers(1, 50)),
    ),
    max_size=25,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, seed=st.integers(0, 2**16))
def test_any_sequence_agrees_with_the_oracle(kind: str, steps: list, seed: int) -> None:
    draw = np.random.default_rng(seed)
    index, oracle = open_index(kind, 4), Oracle()
    for step, what in steps:
        if step == "search":
            queries = unit(draw.standard_normal((3, 4)))
            assert_agrees(index.search(queries, what), oracle, queries, what)
            continue
        keys = np.array(sorted(what), dtype=np.int64)
        if step == "remove":
            assert index.remove(keys) == oracle.remove(keys)
            continue
        vectors = unit(draw.standard_normal((len(keys), 4)))
        if oracle.rows.keys() & what:
            with pytest.raises(InvalidInputError):
                index.add(keys, vectors)
        else:
            index.add(keys, vectors)
            oracle.add(keys, vectors)
        assert index.keys().tolist() == sorted(oracle.rows)


def test_auto_opens_and_an_unknown_name_does_not() -> None:
    assert len(open_index("auto", 4)) == 0
    with pytest.raises(UnknownNameError, match="faiss"):
        open_index("fais", 4)
