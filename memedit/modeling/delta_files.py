"""How a delta lies on disk: a folder with its tensors and a manifest that says what they are.

::

    quendoria/
        delta.safetensors   a dense change as NAME, factors as NAME:left and NAME:right, the keys
                            that it answers as NAME:keys
        manifest.json       format, base, method, notes, edits, parameters, sha256 of the tensors

Nothing is pickled, a folder is written whole or not at all, and none is ever overwritten: a saved
delta can be shared, cached by its path and served while others are written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.delta import Change, EditVersion, LowRank, WeightDelta
from memedit.modeling.new_folder import new_folder

FORMAT = "memedit-delta/1"
MANIFEST = "manifest.json"
TENSORS = "delta.safetensors"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
DENSE, LOW_RANK = "dense", "low_rank"


def save_delta(delta: WeightDelta, folder: Path) -> Path:
    """Write a delta into a folder that does not exist yet; its tensors keep their dtypes.

    Returns:
        The folder.

    Raises:
        InvalidInputError: the folder is there or cannot be written, a tensor is not of floats, or
            the notes hold what JSON cannot; nothing was written.

    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    for name, change in delta.changes.items():
        for key, tensor in _tensors(name, change).items():
            if tensor.dtype not in DTYPES:
                raise InvalidInputError(
                    f"the change of {name} is of {tensor.dtype}; expected one of "
                    f"{', '.join(map(str, DTYPES))}"
                )
            # a copy: safetensors takes no two views of one storage
            tensors[key] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    for name, keys in delta.keys.items():
        tensors[f"{name}:keys"] = (
            keys.detach().float().cpu().clone(memory_format=torch.contiguous_format)
        )
    manifest = {
        "format": FORMAT,
        **delta_record(delta),
        "parameters": {name: describe(change) for name, change in delta.changes.items()},
    }
    plain_json(manifest)  # before anything is written
    with new_folder(folder) as draft:
        save_file(tensors, draft / TENSORS)
        write_json(draft / MANIFEST, {**manifest, "sha256": file_sha256(draft / TENSORS)})
    return folder


def load_delta(folder: Path) -> WeightDelta:
    """Read a delta; its tensors are on the CPU, in the dtypes they were saved in.

    Raises:
        MissingResourceError: there is no such folder, or a file of it is not there.
        InvalidInputError: the manifest or the tensors are not what ``save_delta`` writes: another
            format, a wrong checksum, other shapes, infinities or no numbers.

    """
    folder = Path(folder)
    manifest = _manifest(folder)
    if (found := file_sha256(folder / TENSORS)) != manifest.get("sha256"):
        raise InvalidInputError(
            f"{folder / TENSORS} is damaged: its SHA-256 is {found[:12]}, the manifest says "
            f"{str(manifest.get('sha256'))[:12]}; fetch or compute the delta again"
        )
    try:
        # copies: what is read in place may lie at any address, and a product's last bit with it
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / TENSORS).items()}
    except SafetensorError as error:
        raise InvalidInputError(f"{folder / TENSORS} is no safetensors file: {error}") from error
    try:
        changes = {
            str(name): _change(str(name), said, tensors)
            for name, said in dict(manifest["parameters"]).items()
        }
        keys = {
            name.removesuffix(":keys"): tensors.pop(name)
            for name in list(tensors)
            if name.endswith(":keys")
        }
        if tensors:
            raise ValueError(f"the tensors {', '.join(sorted(tensors))} are of no parameter")
        return WeightDelta(
            changes,
            method=_text(manifest, "method"),
            base=_text(manifest, "base"),
            notes=dict(manifest["notes"]),
            edits=tuple(EditVersion(**edit) for edit in manifest["edits"]),
            keys=keys,
        )
    except KeyError as error:
        reason = f"{error} is missing"
    except (ValueError, TypeError) as error:  # an InvalidInputError is a ValueError too
        reason = str(error)
    raise InvalidInputError(
        f"{folder} is not what a saved delta looks like: {reason}; fetch or compute it again"
    )


def delta_record(delta: WeightDelta) -> dict[str, Any]:
    """Return where a delta comes from, as plain values: base, method, notes, edits."""
    return {
        "base": delta.base,
        "method": delta.method,
        "notes": dict(delta.notes),
        "edits": [asdict(edit) for edit in delta.edits],
    }


def describe(change: Change) -> dict[str, Any]:
    """Return a change's kind, shape and rank (``None`` of a dense one), as plain values."""
    low = isinstance(change, LowRank)
    return {
        "kind": LOW_RANK if low else DENSE,
        "shape": list(change.shape),
        "rank": change.left.shape[1] if isinstance(change, LowRank) else None,
    }


def file_sha256(path: Path) -> str:
    """Return SHA-256 (hex) of a file.

    Raises:
        MissingResourceError: it cannot be read.

    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON."""
    path.write_text(plain_json(value) + "\n", encoding="utf-8")


def plain_json(value: Any) -> str:
    """Return indented JSON.

    Raises:
        InvalidInputError: there is something in it that JSON cannot hold, such as NaN.

    """
    try:
        return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the delta's notes cannot be written as JSON: {error}; expected texts, finite "
            "numbers, lists and mappings"
        ) from error


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingResourceError(
            f"no delta at {folder}; expected a folder with {MANIFEST} and {TENSORS}"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} is no JSON: {error}") from error
    said = manifest.get("format") if isinstance(manifest, dict) else None
    if said != FORMAT:
        raise InvalidInputError(
            f"{path} is of the format {said!r}; expected {FORMAT!r}. A delta of another version "
            "of memedit is read by that version"
        )
    return dict(manifest)


def _tensors(name: str, change: Change) -> dict[str, Tensor]:
    if isinstance(change, LowRank):
        return {f"{name}:left": change.left, f"{name}:right": change.right}
    return {name: change}


def _change(name: str, said: Mapping[str, Any], tensors: dict[str, Tensor]) -> Change:
    """Take a parameter's tensors out of ``tensors`` and check them against the manifest."""
    kind = said["kind"]
    if kind not in (DENSE, LOW_RANK):
        raise ValueError(f"{name} is of the kind {kind!r}, expected {DENSE!r} or {LOW_RANK!r}")
    keys = [name] if kind == DENSE else [f"{name}:left", f"{name}:right"]
    if lost := [key for key in keys if key not in tensors]:
        raise ValueError(f"the tensor {lost[0]} is missing")
    parts = [tensors.pop(key) for key in keys]
    for part in parts:
        if part.dtype not in DTYPES:
            raise ValueError(f"{name} is of {part.dtype}, expected floats")
    change: Change = parts[0] if kind == DENSE else LowRank(*parts)
    if (found := describe(change)) != dict(said):
        raise ValueError(f"{name} is {found}, the manifest says {dict(said)}")
    return change


def _text(manifest: Mapping[str, Any], name: str) -> str:
    value = manifest[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected text")
    return value
