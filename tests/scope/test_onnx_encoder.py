from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.scope import bert_graph
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.onnx_encoder import RUN_TOKENS, OnnxEncoder, sub_batches


def opened(folder: Path, cache: Path) -> OnnxEncoder:
    return OnnxEncoder(find_checkpoint(str(folder)), cache_dir=cache)


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(checkpoint: object) -> None:
        raise AssertionError("the graph was built again")

    monkeypatch.setattr(bert_graph, "build", build)


def test_the_graph_is_made_once(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = opened(bert_folder, cache).encode(["a text"])
    assert [path.suffix for path in cache.iterdir()] == [".onnx"]

    forbid_building(monkeypatch)
    np.testing.assert_array_equal(opened(bert_folder, cache).encode(["a text"]), first)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_corrupted_cache_is_made_anew(
    bert_folder: Path, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    first = opened(bert_folder, cache).encode(["a text"])
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)

    with caplog.at_level(logging.WARNING):
        again = opened(bert_folder, cache).encode(["a text"])

    np.testing.assert_array_equal(again, first)
    assert file.read_bytes() == whole
    assert "made anew" in caplog.text


def test_a_flipped_bit_in_the_cache_is_noticed(bert_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = opened(bert_folder, cache).encode(["a text"])
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40  # somewhere in the weights
    file.write_bytes(content)

    np.testing.assert_array_equal(opened(bert_folder, cache).encode(["a text"]), first)


def test_a_cache_that_cannot_be_written_costs_only_time(
    bert_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    vectors = opened(bert_folder, blocked / "cache").encode(["a text"])

    assert vectors.shape[0] == 1
    assert "cannot be cached" in caplog.text


def test_several_starts_at_once_share_the_cache(bert_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: opened(bert_folder, cache).encode(["a text"]), range(8)))

    for vectors in found[1:]:
        np.testing.assert_array_equal(vectors, found[0])
    assert [path.suffix for path in cache.iterdir()] == [".onnx"]


def test_the_graph_is_the_same_bytes_every_time(bert_folder: Path) -> None:
    checkpoint = find_checkpoint(str(bert_folder))

    first, second = (bert_graph.build(checkpoint).SerializeToString() for _ in range(2))

    assert first == second


@given(st.lists(st.integers(2, 256), max_size=200), st.integers(1, 4_096))
def test_sub_batches_hold_every_text_once_with_little_padding(
    lengths: list[int], limit: int
) -> None:
    groups = list(sub_batches(lengths, limit))

    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        chosen = [lengths[i] for i in group]
        assert max(chosen) * len(group) <= limit or len(group) == 1
        assert max(chosen) <= 1.5 * min(chosen) + 8
        for others in range(1, len(chosen)):
            longer = chosen[others] - chosen[others - 1]
            assert others * longer <= RUN_TOKENS  # else a run of its own takes no longer


def test_padding_is_not_computed_where_another_run_is_cheaper() -> None:
    assert list(sub_batches([22, 14, 22, 14, 15], 512)) == [[1, 3, 4], [0, 2]]
    assert list(sub_batches([20, 14], 512)) == [[1, 0]]
