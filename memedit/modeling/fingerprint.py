"""What a model is known by in every cache: its numbers and its configuration, never its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memedit.errors import MissingResourceError

# What says how a model was loaded or by what it was written, not what it computes.
_PASSING = frozenset(
    {
        *("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"),
        *("architectures", "_attn_implementation", "attn_implementation", "_commit_hash"),
        *("output_attentions", "output_hidden_states", "return_dict"),
    }
)


def model_fingerprint(model: nn.Module) -> str:
    """Return SHA-256 (hex) of a loaded model's numbers and configuration.

    Every parameter counts as float32, so that a bfloat16 checkpoint has the same fingerprint
    whether it was loaded as bfloat16 or as float32.  About a second per gigabyte.
    """
    config: Any = getattr(model, "config", None)
    known = None if config is None else config.to_dict()
    return weights_fingerprint(known, sorted(model.named_parameters()))


def weights_fingerprint(
    config: dict[str, Any] | None, weights: Iterable[tuple[str, Tensor]]
) -> str:
    """Return ``model_fingerprint`` of a model that need not be in memory at once.

    Args:
        config: the configuration as plain values.
        weights: every parameter with its name, sorted by name; tied ones once, under the name that
            the model gives first.

    """
    digest = hashlib.sha256()
    if config is not None:
        digest.update(_canonical(config))
    for name, weight in weights:
        digest.update(f"\n{name} {tuple(weight.shape)}\n".encode())
        flat = weight.detach().reshape(-1)
        for start in range(0, flat.numel(), 1 << 24):
            part = flat[start : start + (1 << 24)].to(device="cpu", dtype=torch.float32)
            digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def checkpoint_fingerprint(folder: Path) -> str:
    """Return SHA-256 (hex) of a checkpoint folder's safetensors files and configuration.

    Another number than ``model_fingerprint``: it is of bytes on disk, and needs no model in memory.

    Raises:
        MissingResourceError: the folder holds no safetensors file.

    """
    folder = Path(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise MissingResourceError(
            f"{folder} holds no *.safetensors; expected a checkpoint folder saved with safetensors"
        )
    digest = hashlib.sha256()
    config = folder / "config.json"
    if config.is_file():
        digest.update(config.read_bytes())
    for path in weights:
        digest.update(f"\n{path.name}\n".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return SHA-256 (hex) of how a tokenizer cuts texts and renders chats."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    cut: Any = sorted(tokenizer.get_vocab().items())
    if backend is not None:
        cut = json.loads(backend.to_str())
        for passing in ("padding", "truncation"):  # the last call's, not the tokenizer's own
            cut.pop(passing, None)
    pieces = {
        "tokenizer": cut,
        "chat_template": getattr(tokenizer, "chat_template", None),
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    }
    return hashlib.sha256(json.dumps(pieces, sort_keys=True, default=str).encode()).hexdigest()


def tensor_digest(tensor: Tensor) -> bytes:
    """Return SHA-256 of a tensor's bytes as they are stored."""
    flat = tensor.detach().reshape(-1).contiguous().view(torch.uint8)
    return hashlib.sha256(flat.cpu().numpy().tobytes()).digest()


def texts_fingerprint(*texts: str) -> str:
    """Return SHA-256 (hex) of texts in their order, such as the prompts of a measurement."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=True).encode()).hexdigest()


def _canonical(config: dict[str, Any]) -> bytes:
    return json.dumps(_lasting(config), sort_keys=True, default=str).encode()


def _lasting(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {str(k): _lasting(v) for k, v in value.items() if k not in _PASSING}
