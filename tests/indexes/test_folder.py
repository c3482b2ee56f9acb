"""Writing an index folder: all or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memedit.errors import MemoryFailure
from memedit.indexes.flat import FlatIndex
from memedit.indexes.folder import read_folder, write_folder


def test_a_failed_write_leaves_the_old_index(tmp_path: Path) -> None:
    index = FlatIndex(4)
    index.add(np.array([3]), np.ones((1, 4), dtype=np.float32))
    index.save(tmp_path)

    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(MemoryFailure, match="no space left"):
        write_folder(tmp_path, {"index": "flat", "dim": 4, "count": 9}, ".safetensors", broken)
    assert FlatIndex.load(tmp_path).keys().tolist() == [3]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryFailure):
        FlatIndex(4).save(tmp_path / "file" / "index")


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    index = FlatIndex(4)
    index.add(np.array([3]), np.ones((1, 4), dtype=np.float32))
    index.save(tmp_path)
    manifest, data = read_folder(tmp_path, "flat")
    assert (manifest["dim"], manifest["count"]) == (4, 1)
    assert data.parent == tmp_path
