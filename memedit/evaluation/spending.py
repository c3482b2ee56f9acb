"""What editing costs: time, and the most memory that was in use meanwhile."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from memedit.evaluation.protocols import Cost

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_HIGHEST = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@contextmanager
def spent(cost: Cost, edits: int, device: Any = None) -> Iterator[None]:
    """Add what the block takes to `cost`.

    Memory is the largest resident size of this process during the block on Linux, where its mark
    can be set back, and since the process began elsewhere; on a CUDA device it is the most that
    PyTorch had allocated there.  It holds the model itself, too: compare methods, or look at the
    difference to the model's size.

    Args:
        cost: what is added to.
        edits: made in the block.
        device: the `torch.device` of the model, where there is one.

    """
    cuda = getattr(device, "type", "") == "cuda"
    _reset(device if cuda else None)
    began = time.perf_counter()
    yield
    cost.seconds += time.perf_counter() - began
    cost.edits += edits
    cost.peak_bytes = max(cost.peak_bytes, _peak(device if cuda else None))


def _reset(device: Any) -> None:
    if device is not None:
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or a kernel that does not let us
        _RESET.write_text("5", encoding="ascii")


def _peak(device: Any) -> int:
    if device is not None:
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        found = _HIGHEST.search(_STATUS.read_text(encoding="ascii", errors="replace"))
        if found:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024
