"""What vLLM's workers can be asked over its own remote calls.

None of these calls raises: vLLM 0.32 mixes up the answers of later calls after one that did.  Each
returns ``{"ok": bool, ...}``, with ``error`` where it is false.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

Answer = dict[str, Any]


def add_remote_calls() -> None:
    """Make the calls known to vLLM's workers; a second time, it is the same."""
    workers: Any = importlib.import_module("vllm.v1.worker.worker_base").WorkerBase
    for call in (memedit_state, memedit_write, memedit_restore):
        if not hasattr(workers, call.__name__):
            setattr(workers, call.__name__, call)


def _never_raising(call: Callable[..., Answer]) -> Callable[..., Answer]:
    @functools.wraps(call)
    def answer(*args: Any, **kwargs: Any) -> Answer:
        try:
            return {"ok": True, **call(*args, **kwargs)}
        except Exception as error:
            logging.getLogger("vllm.memedit").exception("%s failed", call.__name__)
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    return answer


@_never_raising
def memedit_state(worker: Any) -> Answer:
    """Say what adapters this worker holds, and which modules vLLM keeps as one.

    ``grace``: layer -> the entries in each slot; ``lost``: names of adapters that could not be
    read again; ``packed``: vLLM's name of a fused module -> the checkpoint's names of its parts.
    """
    model = worker.get_model()
    loras = getattr(worker.model_runner, "lora_manager", None)
    tables = getattr(getattr(loras, "_adapter_manager", None), "memedit_tables", {})
    return {
        "grace": {str(layer): list(table.used) for layer, table in tables.items()},
        "lost": sorted(getattr(loras, "memedit_lost", {}).values()),
        "packed": {
            str(name): [str(part) for part in parts]
            for name, parts in (getattr(model, "packed_modules_mapping", None) or {}).items()
        },
    }


@_never_raising
def memedit_write(worker: Any, path: str) -> Answer:
    """Write whole tensors of a safetensors file, by the checkpoint's names, into the weights.

    They are checked before (``weights.whole_tensors``): what fails here leaves modules without
    weights.
    """
    tensors = load_file(Path(path))
    worker.reload_weights(weights_iterator=iter(tensors.items()))
    return {"written": sorted(tensors)}


@_never_raising
def memedit_restore(worker: Any) -> Answer:
    """Load all weights from the served checkpoint anew."""
    worker.reload_weights()
    return {}
