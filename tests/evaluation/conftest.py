"""Where the real benchmark files lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of the benchmark files; tests that need it are marked `data`."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("MEMEDIT_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no benchmark data in {folder}; MEMEDIT_DATA names another folder")
    return folder
