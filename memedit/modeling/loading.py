"""A checkpoint folder as a model in memory; nothing is downloaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from memedit.errors import InvalidInputError, MissingResourceError, SettingsError

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


def load_checkpoint(folder: Path, *, dtype: str = "auto", device: str = "auto") -> tuple[Any, Any]:
    """Load the model, in eval mode, and its tokenizer.

    Args:
        folder: with config.json, safetensors weights and tokenizer files.
        dtype: `auto` is float32 on a CPU, where it is reproducible and no slower, and elsewhere
            what the checkpoint was saved in.
        device: `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        MissingResourceError: the folder, the device or a package is not there.
        SettingsError: no dtype or device is called that.
        InvalidInputError: the folder holds no causal language model, or not all of its weights.

    """
    if not (folder / "config.json").is_file():
        raise MissingResourceError(
            f"no checkpoint at {folder}; expected a folder with config.json, *.safetensors and "
            "tokenizer files (nothing is downloaded)"
        )
    if dtype not in DTYPES:
        raise SettingsError(f"unknown dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    chosen = _device(device)
    number: Any = "auto" if dtype == "auto" else getattr(torch, dtype)
    if dtype == "auto" and chosen.type == "cpu":
        number = torch.float32
    transformers = importlib.import_module("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=number,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # the loaders of three libraries raise what they like
        raise InvalidInputError(
            f"{folder} cannot be loaded as a causal language model: {error}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise InvalidInputError(
            f"the weights in {folder} lack {len(missing)} tensors that its config.json asks for "
            f"(first: {missing[0]}); they would be random numbers"
        )
    if getattr(tokenizer, "is_fast", False):
        # A checkpoint may carry its training's truncation and padding; a prompt must stay whole,
        # and a backend that is never reconfigured can be shared between threads.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return model.to(chosen).eval(), tokenizer


def _device(device: str) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(
            f"unknown device {device!r}; expected auto, cpu, cuda, cuda:N or mps"
        ) from error
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if not there.get(chosen.type, lambda: True)():
        raise MissingResourceError(f"device {device!r} is not available here; try --device auto")
    return chosen
