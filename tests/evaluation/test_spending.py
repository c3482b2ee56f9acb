"""What editing costs: memory beyond what was there, and time."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from memedit.evaluation.protocols import Cost
from memedit.evaluation.spending import settle, spent

MB = 1_000_000
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets its mark back")


def filled(n_bytes: int) -> Any:
    return np.ones(n_bytes, dtype=np.uint8)


ALONE = """
import time
import numpy as np
from memedit.evaluation.protocols import Cost
from memedit.evaluation.spending import spent

def filled(megabytes):
    return np.ones(megabytes * 1_000_000, dtype=np.uint8)

held = filled(200)
passing = filled(300)
del passing
cost = Cost()
with spent(cost, 2):
    short = filled(50)
    del short
first = cost.added_bytes
with spent(cost, 1):
    time.sleep(0.01)
assert held.size
print(first, cost.added_bytes, cost.edits, cost.seconds)
"""


@linux
def test_what_was_there_before_is_not_counted() -> None:
    """In a process of its own: what threads of other tests let go meanwhile would be taken off."""
    ran = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=60, check=True
    )
    first, most, edits, seconds = ran.stdout.split()
    assert 45 * MB < int(first) < 100 * MB
    assert int(most) == int(first), "the most of all blocks"
    assert int(edits) == 3 and float(seconds) >= 0.01


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_within_the_process_is_seen_again_once_it_is_handed_back() -> None:
    def many() -> list[Any]:
        return [filled(60_000) for _ in range(1_000)]  # each too small to be mapped by itself

    before = many()
    pin = filled(60_000)  # the heap ends here, so that nothing before it goes back by itself
    del before
    settle()
    cost = Cost()
    with spent(cost, 1):
        again = many()
    assert len(again) == 1_000 and pin.size
    assert cost.added_bytes is not None and cost.added_bytes > 40 * MB


def test_what_cannot_be_measured_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("memedit.evaluation.spending._RESET", tmp_path / "nowhere" / "clear_refs")
    cost = Cost()
    with spent(cost, 1):
        filled(MB)
    assert cost.added_bytes is None and cost.edits == 1
