"""As much of vLLM as the plugin takes hold of, in its place in ``sys.modules``."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

SLOTS, WIDTH = 2, 32


class VLLMValidationError(Exception):
    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)


class VLLMNotFoundError(Exception):
    pass


class LoRARequest:
    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str) -> None:
        self.lora_name, self.lora_int_id, self.lora_path = lora_name, lora_int_id, lora_path


class LoRALayerWeights:
    def __init__(
        self, module_name: str, rank: int, lora_alpha: int, lora_a: Any, lora_b: Any
    ) -> None:
        self.lora_a, self.lora_b = lora_a, lora_b


class LoRAModel:
    def __init__(self, lora_model_id: int, rank: int, loras: dict[str, Any]) -> None:
        self.id, self.rank, self.loras = lora_model_id, rank, loras


class Registry:
    def __init__(self) -> None:
        self.resolvers: dict[str, Any] = {}

    def get_supported_resolvers(self) -> Any:
        return self.resolvers.keys()

    def register_resolver(self, name: str, resolver: Any) -> None:
        assert name not in self.resolvers
        self.resolvers[name] = resolver

    def get_resolver(self, name: str) -> Any:
        return self.resolvers[name]


class PunicaWrapperBase:
    def __init__(self) -> None:
        self._token_lora_indices = torch.full((8,), -1)
        self._sampler_indices = torch.full((8,), -1)
        self.tokens = 0

    @property
    def token_lora_indices(self) -> torch.Tensor:
        return self._token_lora_indices[: self.tokens]

    @property
    def sampler_indices(self) -> torch.Tensor:
        return self._sampler_indices[: self.tokens]

    def _update_base_metadata(self, mapping: list[int]) -> None:
        self.tokens = len(mapping)
        self._token_lora_indices[: self.tokens] = torch.tensor(mapping)
        self._sampler_indices[: self.tokens] = torch.tensor(mapping)

    def update_metadata(self, mapping: list[int]) -> None:
        self._update_base_metadata(mapping)


def managers() -> tuple[type[Any], type[Any]]:
    """Return fresh classes, since the plugin changes them."""

    class LoRAModelManager:
        def __init__(self, model: Any, max_num_seqs: int, *, vllm_config: Any) -> None:
            self.model, self.lora_slots = model, SLOTS
            self.punica_wrapper_mapping = {"m": PunicaWrapperBase()}
            self.lora_index_to_id: list[int | None] = [None] * SLOTS
            self._registered_adapters: dict[int, Any] = {}

        def activate_adapter(self, lora_id: int) -> bool:
            if lora_id in self.lora_index_to_id:
                return False
            free = self.lora_index_to_id.index(None)
            self.lora_index_to_id[free] = lora_id
            return True

    class WorkerLoRAManager:
        def __init__(self, manager: Any) -> None:
            self._adapter_manager = manager
            self.lora_config = SimpleNamespace(max_lora_rank=4)

        def _load_adapter(self, lora_request: Any) -> Any:
            from pathlib import Path

            if not Path(lora_request.lora_path).is_dir():
                raise FileNotFoundError(lora_request.lora_path)
            return LoRAModel(lora_request.lora_int_id, 1, {"module": "real"})

    return LoRAModelManager, WorkerLoRAManager


def bgmv_expand(
    inputs: Any, lora_b_weights: Any, output_tensor: Any, lora_indices_tensor: Any, add: bool = True
) -> None:
    """Do as vLLM 0.32 does: index -1 is the last slot."""
    output_tensor += torch.einsum("bi,boi->bo", inputs, lora_b_weights[lora_indices_tensor])


def bgmv_expand_slice(
    inputs: Any,
    lora_b_weights: Any,
    output_tensor: Any,
    lora_indices_tensor: Any,
    slice_offset: int,
    slice_size: int,
    add: bool = True,
) -> None:
    part = output_tensor[:, slice_offset : slice_offset + slice_size]
    part += torch.einsum("bi,boi->bo", inputs, lora_b_weights[lora_indices_tensor])


class WorkerBase:
    def get_model(self) -> Any:
        return None


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a stand-in for vLLM where it is imported from; returns its modules by name."""
    models, workers = managers()
    # Undone with the stand-in: the plugin changes it.
    monkeypatch.setattr(sys.modules[__name__], "WorkerBase", type("WorkerBase", (WorkerBase,), {}))
    context = SimpleNamespace(no_compile_layers={})
    parts: dict[str, dict[str, Any]] = {
        "vllm": {"__version__": "0.32.0"},
        "vllm.exceptions": {
            "VLLMValidationError": VLLMValidationError,
            "VLLMNotFoundError": VLLMNotFoundError,
        },
        "vllm.forward_context": {"get_forward_context": lambda: context},
        "vllm.lora": {},
        "vllm.lora.lora_model": {"LoRAModel": LoRAModel},
        "vllm.lora.lora_weights": {"LoRALayerWeights": LoRALayerWeights},
        "vllm.lora.model_manager": {"LoRAModelManager": models},
        "vllm.lora.ops": {},
        "vllm.lora.ops.torch_ops": {},
        "vllm.lora.ops.torch_ops.lora_ops": {
            "bgmv_expand": bgmv_expand,
            "bgmv_expand_slice": bgmv_expand_slice,
        },
        "vllm.lora.punica_wrapper": {},
        "vllm.lora.punica_wrapper.punica_base": {"PunicaWrapperBase": PunicaWrapperBase},
        "vllm.lora.punica_wrapper.punica_cpu": {
            "bgmv_expand": bgmv_expand,
            "bgmv_expand_slice": bgmv_expand_slice,
        },
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.lora.resolver": {"LoRAResolverRegistry": Registry()},
        "vllm.lora.worker_manager": {"WorkerLoRAManager": workers},
        "vllm.utils": {},
        "vllm.utils.torch_utils": {"direct_register_custom_op": _define},
        "vllm.v1": {},
        "vllm.v1.worker": {},
        "vllm.v1.worker.worker_base": {"WorkerBase": sys.modules[__name__].WorkerBase},
    }
    modules = {}
    for name, values in parts.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
        modules[name] = module
    return modules


def _define(
    op_name: str, op_func: Any, mutates_args: list[str] | None = None, fake_impl: Any = None
) -> None:
    torch.library.define(
        f"vllm::{op_name}", torch.library.infer_schema(op_func, mutates_args=mutates_args or ())
    )
    torch.library.impl(f"vllm::{op_name}", "cpu", op_func)
