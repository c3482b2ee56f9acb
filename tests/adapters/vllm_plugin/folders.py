"""A checkpoint and adapters of it, small enough for every test to write its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from memedit.adapters.codebook import Codebook
from memedit.adapters.grace import Grace
from memedit.adapters.learned import HeldEdit
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest

WIDTH, WIDE = 32, 48  # of tests.tiny_checkpoint's model
MODULE = "model.layers.1.mlp.down_proj"


def write_lora(
    folder: Path,
    module: str = MODULE,
    rank: int = 2,
    *,
    a: torch.Tensor | None = None,
    config: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
) -> Path:
    """Write a LoRA as PEFT does."""
    folder.mkdir(parents=True)
    said = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"} | (config or {})
    (folder / "adapter_config.json").write_text(json.dumps(said))
    prefix = f"base_model.model.{module}"
    tensors = {
        f"{prefix}.lora_A.weight": torch.ones(rank, WIDE) if a is None else a,
        f"{prefix}.lora_B.weight": torch.ones(WIDTH, rank),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_grace(
    folder: Path, *, layer: int = 1, entries: int = 3, width: int = WIDTH, base: str = "a" * 64
) -> Path:
    """Write a GRACE adapter with keys at the unit vectors, radius 0.5, and values 1, 2, ..."""
    adapter = Grace()
    adapter.layer, adapter.base = layer, base
    book = Codebook(0.5)
    held = []
    for n in range(entries):
        key = torch.zeros(width)
        key[n % width] = 1.0 + 10 * (n // width)
        book.place(f"e{n}", key, torch.full((width,), float(n + 1)), f"label {n}")
        request = EditRequest(prompt=f"The {n}th town is", subject=f"{n}th", target_new="Ada")
        held.append(HeldEdit(EditVersion(f"e{n}", 1), request))
    adapter.codebook, adapter.held = book, tuple(held)
    return adapter.save(folder)
