"""Folders as ``memedit bake --as lora`` writes them, made by hand: no torch is needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

BASE = "ab" * 32
MODULE = "base_model.model.model.layers.0.mlp.down_proj"


def write_lora(
    folder: Path,
    *edits: str,
    base: str = BASE,
    config: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray[Any, Any]] | None = None,
    **manifest: Any,
) -> Path:
    """Write a LoRA of rank 1; ``edits`` are ``id@version``."""
    folder.mkdir(parents=True)
    factors = {
        f"{MODULE}.lora_A.weight": np.ones((1, 4), np.float32),
        f"{MODULE}.lora_B.weight": np.zeros((6, 1), np.float16),
    }
    save_file(factors if tensors is None else tensors, folder / "adapter_model.safetensors")
    plain = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(plain | (config or {})))
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    said = {
        "format": "memedit-lora/1",
        "base": base,
        "method": "r-rome",
        "edits": [dict(zip(("id", "version"), _parts(one), strict=True)) for one in edits],
        "sha256": digest,
    }
    (folder / "manifest.json").write_text(json.dumps(said | manifest))
    return folder


def write_codebook(folder: Path, *edits: str, radii: int = 2, **manifest: Any) -> Path:
    """Write a codebook of two entries as ``memedit adapt --method grace`` does."""
    folder.mkdir(parents=True)
    tensors = {
        "keys": np.ones((2, 4), np.float32),
        "radii": np.ones(radii, np.float32),
        "values": np.ones((2, 4), np.float32),
    }
    save_file(tensors, folder / "adapter.safetensors")
    said = {
        "format": "memedit-adapter/1",
        "base": BASE,
        "method": "grace",
        "servable_by": ["process", "vllm-plugin"],
        "layer": 3,
        "state": {"entries": [{}, {}]},
        "edits": [dict(zip(("id", "version"), _parts(one), strict=True)) for one in edits],
        "sha256": hashlib.sha256((folder / "adapter.safetensors").read_bytes()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(said | manifest))
    return folder


def _parts(ref: str) -> tuple[str, int]:
    name, version = ref.split("@")
    return name, int(version)
