"""What is changed in a vLLM, and in which vLLM nothing is."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.adapters.vllm_plugin import register
from memedit.adapters.vllm_plugin.library import LIBRARY
from memedit.adapters.vllm_plugin.resolver import library_resolver
from memedit.adapters.vllm_plugin.seams import what_does_not_fit


def unchanged(vllm: Any) -> bool:
    ops = vllm["vllm.lora.ops.torch_ops.lora_ops"]
    return (
        not hasattr(vllm["vllm.lora.model_manager"].LoRAModelManager, "memedit_carries_codebooks")
        and not hasattr(vllm["vllm.v1.worker.worker_base"].WorkerBase, "memedit_state")
        and not hasattr(ops.bgmv_expand, "memedit_leaves_base_rows_alone")
        and library_resolver() is None
    )


def test_registering_twice_is_registering_once(
    vllm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(LIBRARY, str(tmp_path))
    assert what_does_not_fit() == "" and unchanged(vllm)
    register()
    resolver = library_resolver()
    kernel = vllm["vllm.lora.punica_wrapper.punica_cpu"].bgmv_expand
    load = vllm["vllm.lora.worker_manager"].WorkerLoRAManager._load_adapter
    register()
    assert resolver is not None and library_resolver() is resolver
    assert vllm["vllm.lora.punica_wrapper.punica_cpu"].bgmv_expand is kernel
    assert vllm["vllm.lora.worker_manager"].WorkerLoRAManager._load_adapter is load


def test_without_a_library_no_names_are_looked_for(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LIBRARY, raising=False)
    register()
    assert library_resolver() is None


@pytest.mark.parametrize("version", ["0.33.0", "0.31.9", "1.32.0", "dev"])
def test_another_vllm_is_left_as_it_is_and_told_why(
    vllm: Any, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    vllm["vllm"].__version__ = version
    with caplog.at_level(logging.ERROR):
        register()
    assert unchanged(vllm)
    assert f"this is vLLM {version}" in caplog.text and "tried with 0.32.*" in caplog.text


def test_a_vllm_that_lacks_a_place_is_left_as_it_is(
    vllm: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = vllm["vllm.lora.worker_manager"].WorkerLoRAManager
    monkeypatch.setattr(manager, "_load_adapter", lambda self, request: None)
    with caplog.at_level(logging.ERROR):
        register()
    assert unchanged(vllm)
    assert "_load_adapter takes no lora_request" in caplog.text
    monkeypatch.delattr(manager, "_load_adapter")
    assert "WorkerLoRAManager._load_adapter" in what_does_not_fit()


def test_rows_without_a_lora_get_none(vllm: Any) -> None:
    register()
    weights, rows = torch.ones(2, 4, 1), torch.tensor([-1, 0, 1])
    cpu = vllm["vllm.lora.punica_wrapper.punica_cpu"]
    inputs, out, part = torch.ones(3, 1), torch.zeros(3, 4), torch.zeros(3, 8)
    cpu.bgmv_expand(inputs, weights, out, rows, True)
    cpu.bgmv_expand_slice(inputs, weights, part, rows, 4, 4, add=True)
    assert out.sum(1).tolist() == part.sum(1).tolist() == [0, 4, 4]
    assert inputs.tolist() == [[1], [1], [1]]


def test_importing_does_nothing_and_needs_little() -> None:
    heavy = {"torch", "transformers", "peft", "faiss", "sqlalchemy", "fastapi", "onnxruntime"}
    program = f"""
import sys
import memedit.adapters.vllm_plugin
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
import memedit.adapters.vllm_plugin.routes, memedit.adapters.vllm_plugin.lora_slots
found = {heavy - {"torch", "fastapi"}} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", program], check=True)
