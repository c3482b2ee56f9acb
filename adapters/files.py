"""How an adapter lies on disk: a folder with its tensors and a manifest that says what they are.

::

    quendoria/
        adapter.safetensors   the method's tensors (a LoRA: adapter_model.safetensors, as PEFT has)
        manifest.json         format, method, settings, layer, base, edits, state, shapes, sha256

Nothing is pickled, a folder is written whole or not at all, and none is ever overwritten: a saved
adapter can be shared, cached by its path and served while others are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memedit.adapters.base import Adapter
from memedit.adapters.catalog import open_adapter
from memedit.adapters.learned import (
    HeldEdit,
    Saved,
)
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.delta import EditVersion
from memedit.modeling.delta_files import file_sha256, plain_json, write_json
from memedit.modeling.new_folder import new_folder
from memedit.types import EditRequest

FORMAT = "memedit-adapter/1"
MANIFEST = "manifest.json"
TENSORS = "adapter.safetensors"
PEFT_CONFIG, PEFT_TENSORS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(adapter: Adapter[Any], folder: Path) -> Path:
    """Write an adapter into a folder that does not exist yet.

    Where the method's state has ``peft_config``, that is written as PEFT's adapter_config.json, and
    the tensors under PEFT's name: the folder is what peft and vLLM load.

    Returns:
        The folder.

    Raises:
        InvalidInputError: nothing was learned, a tensor holds infinities or no numbers, or the
            folder is there or cannot be written; nothing was written.

    """
    folder = Path(folder)
    if adapter.layer < 0:
        raise InvalidInputError("the adapter has learned nothing; there is nothing to save")
    saved = adapter.to_saved()
    tensors = {
        # copies: safetensors takes no two views of one storage
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in saved.tensors.items()
    }
    _check_finite(tensors)
    state = dict(saved.state)
    peft_config = state.pop("peft_config", None)
    file = TENSORS if peft_config is None else PEFT_TENSORS
    manifest = {
        "format": FORMAT,
        "method": adapter.name,
        "settings": _plain(adapter.settings()) | ({"ends": True} if adapter.ends else {}),
        "servable_by": sorted(adapter.servable_by),
        "base": adapter.base,
        "layer": adapter.layer,
        "edits": [
            {
                **asdict(one.edit),
                "request": one.request.model_dump(mode="json"),
                "said": one.said,
            }
            for one in adapter.held
        ],
        "state": state,
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "file": file,
    }
    plain_json(manifest)  # before anything is written
    with new_folder(folder) as draft:
        save_file(tensors, draft / file, metadata={"format": "pt"})
        if peft_config is not None:
            write_json(draft / PEFT_CONFIG, peft_config)
        write_json(draft / MANIFEST, {**manifest, "sha256": file_sha256(draft / file)})
    return folder


def load_adapter(folder: Path, **forms: Any) -> Adapter[Any]:
    """Read an adapter; whose base it is, is checked when it is attached.

    Args:
        folder: what ``save_adapter`` wrote.
        forms: ``prompt_form``, ``target_form``, ``ends``, for edits that it is to learn later;
            ``ends`` left out is as it was.

    Raises:
        MissingResourceError: there is no such folder, or a file of it is not there.
        InvalidInputError: manifest or tensors are not what ``save_adapter`` writes: another
            format, a wrong checksum, other shapes, infinities or no numbers.

    """
    folder = Path(folder)
    manifest = _manifest(folder)
    try:
        file = str(manifest["file"])
        if file not in (TENSORS, PEFT_TENSORS):
            raise ValueError(f"its tensors are in {file!r}, expected {TENSORS} or {PEFT_TENSORS}")
        tensors = _tensors(folder / file, str(manifest["sha256"]))
        if (found := {n: list(t.shape) for n, t in tensors.items()}) != manifest["tensors"]:
            raise ValueError(f"the tensors are {found}, the manifest says {manifest['tensors']}")
        _check_finite(tensors)
        held = [
            HeldEdit(
                EditVersion(edit["id"], edit["version"]),
                EditRequest.model_validate(edit["request"]),
                bool(edit.get("said", True)),
            )
            for edit in manifest["edits"]
        ]
        settings = {**manifest["settings"], **({"ends": forms["ends"]} if "ends" in forms else {})}
        adapter = open_adapter(str(manifest["method"]), settings, **forms)
        state = dict(manifest["state"])
        if file == PEFT_TENSORS:
            state["peft_config"] = _json(folder / PEFT_CONFIG)
        base, layer = str(manifest["base"]), int(manifest["layer"])
        return adapter.restored(base, layer, held, Saved(tensors, state))
    except KeyError as error:
        reason = f"{error} is missing"
    except (ValueError, TypeError, AttributeError, ValidationError) as error:
        reason = str(error)
    raise InvalidInputError(
        f"{folder} is not what a saved adapter looks like: {reason}; fetch or learn it again"
    )


def _tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    if (found := file_sha256(path)) != sha256:
        raise InvalidInputError(
            f"{path.name} is damaged: its SHA-256 is {found[:12]}, the manifest says {sha256[:12]}"
        )
    try:
        # copies: what is read in place may lie at any address, and a product's last bit with it
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise InvalidInputError(f"{path.name} is no safetensors file: {error}") from error


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point:
            raise InvalidInputError(f"{name} is of {tensor.dtype}, expected floats")
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidInputError(f"{name} holds infinities or no numbers")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingResourceError(f"no adapter at {folder}; expected a folder with {MANIFEST}")
    manifest = _json(path)
    said = manifest.get("format") if isinstance(manifest, dict) else None
    if said != FORMAT:
        raise InvalidInputError(
            f"{path} is of the format {said!r}; expected {FORMAT!r}. An adapter of another "
            "version of memedit is read by that version"
        )
    return dict(manifest)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is no JSON: {error}") from error


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those that are settings of their own as plain values."""
    return {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
        for name, value in settings.items()
    }
