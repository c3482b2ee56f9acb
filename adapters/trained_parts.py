"""What a method learns once for a model, and then uses for any edit: a folder beside the adapters.

::

    gate/
        part.safetensors    the tensors
        manifest.json       format, method, base, layer, sha256, and what the training came to
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.delta_files import file_sha256, plain_json, write_json
from memedit.modeling.new_folder import new_folder

FORMAT = "memedit-part/1"
MANIFEST, TENSORS = "manifest.json", "part.safetensors"


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """A method's part for one model."""

    method: str
    base: str
    """``model_fingerprint`` of the model it was trained on."""
    layer: int
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]
    """Plain values: ``trained_on``, the files that it learned from, and what came of it."""


def save_part(part: TrainedPart, folder: Path) -> Path:
    """Write a part into a folder that does not exist yet; returns the folder.

    Raises:
        InvalidInputError: the folder is there or cannot be written; nothing was written.

    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in part.tensors.items()}
    head = {"format": FORMAT, "method": part.method, "base": part.base, "layer": part.layer}
    manifest = {**part.record, **head}
    plain_json(manifest)
    with new_folder(Path(folder)) as draft:
        save_file(tensors, draft / TENSORS)
        write_json(draft / MANIFEST, {**manifest, "sha256": file_sha256(draft / TENSORS)})
    return Path(folder)


def load_part(folder: Path, method: str, base: str, shapes: Mapping[str, int]) -> TrainedPart:
    """Read a part.

    Args:
        folder: what ``save_part`` wrote.
        method: whose part it must be.
        base: fingerprint of the model that it must be for.
        shapes: the tensors that it must have, with their numbers of dimensions.

    Raises:
        MissingResourceError: there is none.
        InvalidInputError: it is damaged, of another method or for another model.

    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise MissingResourceError(
            f"no trained part at {folder}; make one with 'memedit train {method}'"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if (manifest["format"], manifest["method"]) != (FORMAT, method):
            raise ValueError(
                f"it is {manifest['format']!r} of {manifest['method']!r}, expected {FORMAT!r} of "
                f"{method!r}"
            )
        if file_sha256(folder / TENSORS) != manifest["sha256"]:
            raise ValueError(f"{TENSORS} is damaged: its SHA-256 is not the manifest's")
        tensors = {name: tensor.float() for name, tensor in load_file(folder / TENSORS).items()}
        if {name: tensor.ndim for name, tensor in tensors.items()} != dict(shapes):
            raise ValueError(f"its tensors are {sorted(tensors)}, expected {sorted(shapes)}")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise ValueError("a tensor holds infinities or no numbers")
        part = TrainedPart(method, str(manifest["base"]), int(manifest["layer"]), tensors, manifest)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InvalidInputError(
            f"{folder} is no trained part of {method}: {error}; train it again"
        ) from error
    if part.base != base:
        raise InvalidInputError(
            f"{folder} was trained for the model with fingerprint {part.base[:12]}, this one has "
            f"{base[:12]}; train it for this model"
        )
    return part
