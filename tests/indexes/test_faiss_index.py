"""The structures behind the FAISS index: when each is chosen, and how well it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from memedit.errors import InvalidInputError
from memedit.indexes.base import NO_KEY, Vectors
from memedit.indexes.faiss_index import FaissIndex
from memedit.indexes.flat import FlatIndex

Approximate = Literal["ivf", "hnsw"]
DIM = 48


def clustered(n: int, centres: int, seed: int) -> Vectors:
    """Texts of many topics, as sentence vectors lie: unit length, several to a topic."""
    draw = np.random.default_rng(seed)
    middle = np.random.default_rng(7).standard_normal((centres, DIM))
    rows = middle[draw.integers(0, centres, n)] + 0.5 * draw.standard_normal((n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def recall(index: FaissIndex, oracle: FlatIndex, queries: Vectors, k: int = 10) -> float:
    found, truth = index.search(queries, k).keys, oracle.search(queries, k).keys
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_recall_of_approximate_structures(kind: Approximate) -> None:
    vectors, queries = clustered(20_000, 400, 0), clustered(100, 400, 1)
    keys = np.arange(20_000)
    index, oracle = FaissIndex(DIM, kind=kind), FlatIndex(DIM)
    index.add(keys[:15_000], vectors[:15_000])
    assert index.structure == kind
    index.add(keys[15_000:], vectors[15_000:])
    oracle.add(keys, vectors)
    assert recall(index, oracle, queries) >= 0.98
    # Gone is gone, the places are filled, and what is left is still found.
    gone = np.random.default_rng(2).choice(20_000, 4_000, replace=False)
    assert index.remove(gone) == oracle.remove(gone) == 4_000
    found = index.search(queries, 10).keys
    assert (found != NO_KEY).all()
    assert not np.isin(found, gone).any()
    assert recall(index, oracle, queries) >= 0.98


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_all_places_are_filled_when_almost_everything_near_is_removed(kind: Approximate) -> None:
    vectors = clustered(3_000, 10, 0)
    index = FaissIndex(DIM, kind=kind, smallest=100, effort=8, probes=1)
    index.add(np.arange(3_000), vectors)
    query = vectors[:1]
    near = index.search(query, 700).keys[0]
    index.remove(near)
    assert index.structure == kind
    result = index.search(query, 500)
    assert (result.keys != NO_KEY).all()
    assert len(set(result.keys[0].tolist())) == 500
    assert not np.isin(result.keys, near).any()
    everything = index.search(query, 2_300).keys[0]
    assert sorted(everything.tolist()) == index.keys().tolist()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_churn_keeps_agreeing(kind: Approximate) -> None:
    draw = np.random.default_rng(5)
    vectors = clustered(4_000, 50, 3)
    index, oracle = FaissIndex(DIM, kind=kind, smallest=200), FlatIndex(DIM)
    held: set[int] = set()
    for turn in range(7):
        new = np.array(sorted(set(draw.integers(0, 4_000, 500).tolist()) - held))
        index.add(new, vectors[new])
        oracle.add(new, vectors[new])
        held |= set(new.tolist())
        old = draw.choice(sorted(held), len(held) // 3, replace=False)
        assert index.remove(old) == oracle.remove(old) == len(old)
        held -= set(old.tolist())
        assert index.keys().tolist() == sorted(held)
        queries = vectors[draw.integers(0, 4_000, 20)]
        assert recall(index, oracle, queries) >= 0.95, f"turn {turn}"
        assert np.allclose(index.vectors(index.keys()), vectors[index.keys()])


def test_a_search_of_the_graph_reads_no_keys_where_none_was_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = FaissIndex(DIM, kind="hnsw", smallest=50)
    vectors = clustered(100, 10, 0)
    index.add(np.arange(100), vectors)
    read: list[int] = []
    packbits = np.packbits

    def counted(bits: np.ndarray, **options: Any) -> np.ndarray:
        read.append(len(bits))
        return packbits(bits, **options)

    monkeypatch.setattr(np, "packbits", counted)
    index.search(vectors[:1], 1)
    assert read == []
    index.remove(np.array([0]))
    assert index.search(vectors[:1], 1).keys.tolist() != [[0]]
    assert read == [100]


def test_auto_is_exact_while_small_and_a_graph_when_large() -> None:
    vectors = clustered(600, 20, 0)
    index = FaissIndex(DIM, exact_until=400)
    index.add(np.arange(400), vectors[:400])
    assert index.structure == "exact"
    index.add(np.array([400]), vectors[400:401])
    assert index.structure == "hnsw"
    assert index.search(vectors[400:401], 1).keys.tolist() == [[400]]
    index.remove(np.arange(150))
    assert index.structure == "hnsw"  # not at once back: nothing is won by swinging
    index.remove(np.arange(150, 250))
    assert index.structure == "exact"
    assert index.search(vectors[300:301], 1).keys.tolist() == [[300]]
    assert index.keys().tolist() == list(range(250, 401))


def test_one_large_addition_goes_straight_to_the_graph() -> None:
    index = FaissIndex(DIM, exact_until=100)
    index.add(np.arange(300), clustered(300, 10, 0))
    assert index.structure == "hnsw"
    assert len(index) == 300


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_each_structure_is_saved_with_its_options(
    kind: Literal["exact", "ivf", "hnsw"], tmp_path: Path
) -> None:
    vectors = clustered(1_500, 30, 0)
    index = FaissIndex(DIM, kind=kind, smallest=500, neighbours=24, effort=99)
    index.add(np.arange(1_500), vectors)
    index.remove(np.arange(100))
    index.save(tmp_path)
    back = FaissIndex.load(tmp_path)
    assert back.structure == index.structure == kind
    assert back.keys().tolist() == list(range(100, 1_500))
    queries = vectors[700:720]
    assert back.search(queries, 1).keys[:, 0].tolist() == list(range(700, 720))
    back.remove(np.arange(700, 710))
    back.add(np.arange(50), vectors[:50])
    found = back.search(vectors[:20], 1).keys[:, 0].tolist()
    assert found == list(range(20))
    assert not np.isin(back.search(queries, 30).keys, np.arange(700, 710)).any()


def test_equal_vectors_are_all_found() -> None:
    same = np.repeat(clustered(1, 1, 0), 300, axis=0)
    for kind in ("ivf", "hnsw"):
        index = FaissIndex(DIM, kind=kind, smallest=100)  # type: ignore[arg-type]
        index.add(np.arange(300), same)
        found = index.search(same[:1], 300).keys[0]
        assert sorted(found.tolist()) == list(range(300)), kind


@pytest.mark.parametrize(
    "options", [{"kind": "best"}, {"effort": 0}, {"lists": -1}, {"exact_until": 0}]
)
def test_refused_options(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        FaissIndex(DIM, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        FaissIndex(0)
