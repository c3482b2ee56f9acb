"""What editing costs: time, and the memory that was taken for it."""

from __future__ import annotations

import ctypes
import gc
import re
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

    Memory is the most that this process was resident with during the block beyond what it was when
    the block began, so that model, encoder and whatever else was there are not in it; on a CUDA
    device it is the same of what PyTorch had allocated there. `Cost.added_bytes` is the largest of
    all blocks. It is not measured where the system's mark of the highest size cannot be set back
    (anywhere but on Linux). Memory that was free within the process already is not seen: see
    `settle`.

    Args:
        cost: what is added to.
        edits: made in the block.
        device: the `torch.device` of the model, where there is one.

    """
    cuda = device if getattr(device, "type", "") == "cuda" else None
    held = _mark(cuda)
    began = time.perf_counter()
    yield
    cost.seconds += time.perf_counter() - began
    cost.edits += edits
    if held is not None:
        cost.added_bytes = max(cost.added_bytes or 0, _highest(cuda) - held)


def settle() -> None:
    """Hand back to the system what earlier work has freed, before a method's first edit.

    Otherwise a method that runs after another would take that memory up again, unseen.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def _mark(device: Any) -> int | None:
    """Set the mark of the highest size back to what is held now; return that."""
    if device is not None:
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    try:
        _RESET.write_text("5", encoding="ascii")
        return _highest(None)
    except OSError:  # not Linux, or a kernel that does not let us
        return None


def _highest(device: Any) -> int:
    if device is not None:
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    found = _HIGHEST.search(_STATUS.read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise OSError(f"{_STATUS} has no VmHWM")
    return int(found[1]) * 1024
