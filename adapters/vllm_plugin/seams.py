"""Where the plugin takes hold of vLLM, and whether this vLLM is one in which that can be done.

vLLM promises none of these places, so both its version and their signatures are looked at, all of
them before the first is touched: a vLLM is changed wholly or not at all.
"""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from typing import Any

TRIED = (0, 32)
"""The version of vLLM, without its patch level, that everything here was tried with."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A callable of vLLM, and the parameters that are counted on."""

    module: str
    name: str
    parameters: tuple[str, ...]


SEAMS = (
    Seam(
        "vllm.lora.model_manager",
        "LoRAModelManager.__init__",
        ("self", "model", "max_num_seqs", "vllm_config"),
    ),
    Seam("vllm.lora.model_manager", "LoRAModelManager.activate_adapter", ("self", "lora_id")),
    Seam("vllm.lora.worker_manager", "WorkerLoRAManager._load_adapter", ("self", "lora_request")),
    Seam("vllm.lora.lora_model", "LoRAModel.__init__", ("lora_model_id", "rank", "loras")),
    Seam(
        "vllm.lora.lora_weights",
        "LoRALayerWeights.__init__",
        ("self", "module_name", "rank", "lora_alpha", "lora_a", "lora_b"),
    ),
    Seam("vllm.lora.request", "LoRARequest", ("lora_name", "lora_int_id", "lora_path")),
    Seam("vllm.lora.ops.torch_ops.lora_ops", "bgmv_expand", ("inputs", "lora_indices_tensor")),
    Seam(
        "vllm.lora.ops.torch_ops.lora_ops", "bgmv_expand_slice", ("inputs", "lora_indices_tensor")
    ),
    Seam("vllm.lora.punica_wrapper.punica_cpu", "bgmv_expand", ("inputs",)),
    Seam("vllm.lora.punica_wrapper.punica_cpu", "bgmv_expand_slice", ("inputs",)),
    Seam(
        "vllm.lora.punica_wrapper.punica_base", "PunicaWrapperBase._update_base_metadata", ("self",)
    ),
    Seam("vllm.v1.worker.worker_base", "WorkerBase.get_model", ("self",)),
    Seam("vllm.forward_context", "get_forward_context", ()),
    Seam("vllm.utils.torch_utils", "direct_register_custom_op", ("op_name", "mutates_args")),
)


def what_does_not_fit() -> str:
    """Say why the plugin cannot be used in the vLLM of this process; empty where it can."""
    tried = ".".join(map(str, TRIED))
    try:
        version = str(importlib.import_module("vllm").__version__)
    except ImportError as error:
        return f"vLLM cannot be imported here ({error}); install memedit in vLLM's environment"
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) != TRIED:
        return (
            f"this is vLLM {version}, and memedit's plugin was tried with {tried}.* alone; "
            f"install vllm {tried}.*, or the memedit that was tried with {version}"
        )
    missing = [said for seam in SEAMS if (said := _missing(seam))]
    if missing:
        return f"vLLM {version} lacks what the plugin takes hold of: {'; '.join(missing)}"
    return ""


def _missing(seam: Seam) -> str:
    try:
        place: Any = importlib.import_module(seam.module)
        for part in seam.name.split("."):
            place = getattr(place, part)
        known = inspect.signature(place).parameters
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"{seam.module}.{seam.name} ({error})"
    lost = [name for name in seam.parameters if name not in known]
    return f"{seam.module}.{seam.name} takes no {', '.join(lost)}" if lost else ""
