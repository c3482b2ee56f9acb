"""Codebooks in LoRA slots, in a stand-in for vLLM's managers; tests/e2e has the real ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from memedit.adapters.vllm_plugin.checks import grace_book
from memedit.adapters.vllm_plugin.lora_slots import carry_codebooks
from memedit.errors import InvalidInputError, SettingsError
from tests.adapters.vllm_plugin.conftest import SLOTS, WIDTH
from tests.adapters.vllm_plugin.folders import write_grace, write_lora


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(states)
        return out


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = Mlp()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer(), Layer()])


class Stack:
    """A worker's and a model's manager over a model of three layers."""

    def __init__(self, vllm: Any, **said: Any) -> None:
        carry_codebooks()
        self.model = Model()
        self.names = [name for name, _ in self.model.named_parameters()]
        forward_context = vllm["vllm.forward_context"].get_forward_context()
        forward_context.no_compile_layers.clear()
        config = SimpleNamespace(
            additional_config={"memedit": said},
            model_config=SimpleNamespace(
                dtype=torch.float32,
                hf_config=SimpleNamespace(
                    get_text_config=lambda: SimpleNamespace(hidden_size=WIDTH)
                ),
            ),
            compilation_config=SimpleNamespace(
                static_forward_context=forward_context.no_compile_layers
            ),
        )
        self.manager = vllm["vllm.lora.model_manager"].LoRAModelManager(
            self.model, 4, vllm_config=config
        )
        self.worker = vllm["vllm.lora.worker_manager"].WorkerLoRAManager(self.manager)
        self.request = vllm["vllm.lora.request"].LoRARequest

    def load(self, folder: Path, number: int, name: str = "") -> Any:
        lora = self.worker._load_adapter(self.request(name or folder.name, number, str(folder)))
        self.manager._registered_adapters[number] = lora
        return lora

    def activate(self, number: int) -> int:
        self.manager.activate_adapter(number)
        return int(self.manager.lora_index_to_id.index(number))

    def mlp(self, layer: int, states: torch.Tensor, slots: list[int]) -> torch.Tensor:
        self.manager.punica_wrapper_mapping["m"].update_metadata(slots)
        out: torch.Tensor = self.model.layers[layer].mlp(states)  # type: ignore[operator, union-attr]
        return out


@pytest.fixture
def stack(vllm: Any) -> Stack:
    return Stack(vllm, grace_layers=[1, 2], grace_capacity=4)


def test_a_token_looks_up_in_the_adapter_that_its_request_names(
    stack: Stack, tmp_path: Path
) -> None:
    folder = write_grace(tmp_path / "memedit-a-1", layer=1)
    stack.load(folder, 7)
    slot = stack.activate(7)
    table = grace_book(folder).table
    states = torch.cat([table.keys[:2], torch.full((1, WIDTH), 9.0)])
    plain = nn.functional.linear(
        states,
        stack.model.layers[1].mlp.down_proj.weight,  # type: ignore[union-attr, arg-type]
        stack.model.layers[1].mlp.down_proj.bias,  # type: ignore[union-attr, arg-type]
    )
    with torch.no_grad():
        out = stack.mlp(1, states, [slot, -1, slot])
        assert torch.equal(out[0], table.values[0])
        assert torch.equal(out[1:], plain[1:])
        elsewhere = stack.mlp(2, states, [slot, slot, slot])
        before = Mlp.forward(stack.model.layers[2].mlp, states)  # type: ignore[arg-type]
        assert torch.equal(elsewhere, before)


def test_names_of_parameters_stay(stack: Stack) -> None:
    assert [name for name, _ in stack.model.named_parameters()] == stack.names
    assert isinstance(stack.model.layers[1].mlp, Mlp)
    assert type(stack.model.layers[0].mlp) is Mlp


def test_a_slot_that_passes_on_keeps_nothing(stack: Stack, tmp_path: Path) -> None:
    stack.load(write_grace(tmp_path / "memedit-a-1"), 1)
    slot = stack.activate(1)
    assert stack.manager.memedit_tables[1].used[slot] == 3
    stack.manager.lora_index_to_id[slot] = None
    lora = stack.load(write_lora(tmp_path / "memedit-b-1"), 2)
    assert lora.loras == {"module": "real"}
    assert stack.activate(2) == slot
    assert stack.manager.memedit_tables[1].used == [0] * SLOTS


def test_kernels_see_tokens_of_codebooks_as_without_a_lora(stack: Stack, tmp_path: Path) -> None:
    stack.load(write_grace(tmp_path / "memedit-a-1"), 1)
    stack.load(write_lora(tmp_path / "memedit-b-1"), 2)
    book, lora = stack.activate(1), stack.activate(2)
    wrapper = stack.manager.punica_wrapper_mapping["m"]
    for mapping in ([book, lora, -1, book], [-1, -1], [lora], [book]):
        wrapper.update_metadata(mapping)
        seen = [lora if slot == lora else -1 for slot in mapping]
        assert wrapper.token_lora_indices.tolist() == seen
        assert wrapper.sampler_indices.tolist() == seen
        assert stack.manager.memedit_slots.slots[: len(mapping)].tolist() == mapping
    stack.manager.lora_index_to_id[book] = None
    stack.load(write_lora(tmp_path / "memedit-c-1"), 3)
    assert stack.activate(3) == book
    assert stack.manager._last_mapping is None, "the mapping is gone over again"
    wrapper.update_metadata([book, lora])
    assert wrapper.token_lora_indices.tolist() == [book, lora]


def test_what_does_not_fit_is_refused(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="looks at layer 0"):
        stack.load(write_grace(tmp_path / "memedit-a-1", layer=0), 1)
    with pytest.raises(InvalidInputError, match="has 5 entries"):
        stack.load(write_grace(tmp_path / "memedit-b-1", entries=5), 2)
    with pytest.raises(ValueError, match="keys of 16 numbers, expected 32"):
        stack.load(write_grace(tmp_path / "memedit-c-1", width=16), 3)


def test_adapters_of_others_are_vllms_own(stack: Stack, tmp_path: Path) -> None:
    lora = stack.load(write_grace(tmp_path / "theirs"), 1)
    assert lora.loras == {"module": "real"}


def test_an_adapter_that_is_gone_ends_nothing_once_it_was_loaded(
    stack: Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "memedit-a-1"
    with pytest.raises(FileNotFoundError):
        stack.load(folder, 1)
    for write in (write_grace, write_lora):
        write(folder)
        stack.load(folder, 1)
        shutil.rmtree(folder)
        lora = stack.load(folder, 1)
        assert lora.id == 1 and set(lora.loras) == {"memedit.nowhere"}
        assert stack.worker.memedit_lost == {1: "memedit-a-1"}
        assert "can no longer be read" in caplog.text
        stack.activate(1)
        assert stack.manager.memedit_tables[1].used == [0] * SLOTS
    write_grace(folder)
    stack.load(folder, 1)
    assert stack.worker.memedit_lost == {}


def test_without_layers_the_model_is_left_alone(vllm: Any, tmp_path: Path) -> None:
    stack = Stack(vllm)
    assert all(type(layer.mlp) is Mlp for layer in stack.model.layers)  # type: ignore[union-attr]
    with pytest.raises(InvalidInputError, match="started for none"):
        stack.load(write_grace(tmp_path / "memedit-a-1"), 1)
    stack.load(write_lora(tmp_path / "memedit-b-1"), 2)
    stack.activate(2)


def test_layers_that_are_not_there_are_an_error_at_the_start(vllm: Any) -> None:
    with pytest.raises(SettingsError, match=r"has no MLP at \[3\]"):
        Stack(vllm, grace_layers=[1, 3])
