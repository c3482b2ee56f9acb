"""What a folder that vLLM can serve by the name of a model says of itself.

``adapter_config.json`` and ``adapter_model.safetensors`` are PEFT's, and are what vLLM loads;
``adapter.safetensors`` is a codebook (GRACE), which a vLLM with memedit's plugin loads.
``manifest.json`` is memedit's: format, base, method, settings, edits with their versions, sha256 of
the tensors; in a library also the adapter's name, kind, rank, shapes and a sha256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.library.tensors import TensorPlace, check_finite, read_places

MANIFEST: Final = "manifest.json"
PEFT_CONFIG: Final = "adapter_config.json"
PEFT_TENSORS: Final = "adapter_model.safetensors"
CODEBOOK: Final = "adapter.safetensors"
LIBRARY: Final = "library"
"""The part of a manifest that is written when an adapter is taken into a library."""
FORMATS: Final = {"memedit-adapter/1": "adapter", "memedit-lora/1": "bake"}
"""By the manifest's format: how an adapter came to be."""
LARGEST_RANK: Final = 512
"""That vLLM takes."""
_FACTOR: Final = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """A folder with a LoRA or a codebook, as its manifest describes it."""

    folder: Path
    name: str
    """In the library; empty of a folder that is in none."""
    kind: str
    """``adapter`` or ``bake``."""
    base: str
    """Fingerprint of the model it is for."""
    method: str
    edits: tuple[str, ...]
    """``id@version``."""
    silent: frozenset[str]
    """Ids of those whose targets were not said when it was learned."""
    rank: int
    """The largest in it: what ``--max-lora-rank`` must allow.  0 of a codebook."""
    needs: str
    """How vLLM must have been started to serve it, in words."""
    parts: tuple[str, ...]
    """The files beside the manifest; the tensors are in the last."""
    sha256: str
    """Of its tensors."""
    files: Mapping[str, str]
    """SHA-256 by file name, where the adapter is in a library."""
    registered_at: datetime | None
    manifest: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "kind": self.kind,
            "base": self.base,
            "method": self.method,
            "edits": list(self.edits),
            "silent": sorted(self.silent),
            "rank": self.rank,
            "needs": self.needs,
            "sha256": self.sha256,
        }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder that memedit wrote, whether a server loads it or not.

    Raises:
        MissingResourceError: there is no such folder, or no manifest in it.
        InvalidInputError: it is none that memedit wrote.

    """
    manifest = _json(folder / MANIFEST)
    said = manifest.get("format")
    if said not in FORMATS:
        raise InvalidInputError(
            f"{folder / MANIFEST} is of the format {said!r}; expected {' or '.join(FORMATS)}: "
            "what 'memedit adapt' or 'memedit bake --as lora' writes"
        )
    return manifest


def read_stored(folder: Path) -> StoredAdapter:
    """Read what a folder says of itself; ``check_stored`` tells whether that is true.

    Raises:
        MissingResourceError: there is no such folder, or a file of it is not there.
        InvalidInputError: it is none that memedit wrote, or no server serves it by a name.

    """
    manifest = read_manifest(folder)
    hosts = manifest.get("servable_by", ["vllm-lora"])
    is_codebook = "vllm-plugin" in hosts
    if not is_codebook and "vllm-lora" not in hosts:
        raise InvalidInputError(
            f"{folder} holds an adapter of the method {manifest.get('method')!r}, which no server "
            "loads as a LoRA or, with memedit's plugin, as a codebook"
        )
    if not is_codebook and (folder / CODEBOOK).is_file():  # where a LoRA has PEFT's two files
        method = manifest.get("method")
        raise InvalidInputError(
            f"{folder} holds the LoRA blocks of an adapter of the method {method!r}, and a server "
            "loads one LoRA a folder; have each block registered as one of its own: memedit adapt "
            f"--method {method} --model DIR --memory URL --library DIR. Or write the block of one "
            "edit from Python, with load_adapter(FOLDER).fold(EDIT_ID, NEW_FOLDER, model), and add "
            "that folder"
        )
    config = {} if is_codebook else _json(folder / PEFT_CONFIG)
    shelf = manifest.get(LIBRARY, {})
    try:
        rank = 0 if is_codebook else _rank(config)
        registered = shelf.get("registered_at")
        return StoredAdapter(
            folder=folder,
            name=str(shelf.get("name", "")),
            kind=_kind(manifest),
            base=str(manifest["base"]),
            method=str(manifest["method"]),
            edits=tuple(f"{one['id']}@{int(one['version'])}" for one in manifest["edits"]),
            silent=frozenset(
                str(one["id"]) for one in manifest["edits"] if one.get("said", True) is False
            ),
            rank=rank,
            needs=_codebook_needs(manifest) if is_codebook else f"a LoRA rank of {rank}",
            parts=(CODEBOOK,) if is_codebook else (PEFT_CONFIG, PEFT_TENSORS),
            sha256=str(manifest["sha256"]),
            files={str(name): str(digest) for name, digest in shelf.get("files", {}).items()},
            registered_at=None if registered is None else datetime.fromisoformat(registered),
            manifest=manifest,
        )
    except KeyError as error:
        reason = f"{error} is missing"
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error)
    raise InvalidInputError(f"{folder} is not what a saved adapter looks like: {reason}")


def check_stored(stored: StoredAdapter) -> dict[str, TensorPlace]:
    """Look through the tensors: a server would take some of what is refused here without a word.

    Returns:
        The tensors by name.

    Raises:
        InvalidInputError: a file is damaged, a number is none, shapes do not fit one another, or
            the rank is beyond what servers take.
        MissingResourceError: a file is not there.

    """
    path = stored.folder / stored.parts[-1]
    for name, expected in {**stored.files, path.name: stored.sha256}.items():
        if (found := digest_of(stored.folder / name)) != expected:
            raise InvalidInputError(
                f"{stored.folder / name} is damaged: its SHA-256 is {found[:12]}, the manifest "
                f"says {expected[:12]}; write the adapter again"
            )
    places = read_places(path)
    check_finite(path, places)
    if path.name == CODEBOOK:
        _check_codebook(path, places)
    else:
        _check_factors(path, places)
    return places


def _check_codebook(path: Path, places: Mapping[str, TensorPlace]) -> None:
    keys, radii, values = (
        places[name].shape if name in places else () for name in ("keys", "radii", "values")
    )
    if len(keys) != 2 or len(values) != 2 or radii != keys[:1] or values[0] != keys[0]:
        raise InvalidInputError(
            f"{path} holds keys {keys}, radii {radii} and values {values}; expected [m, k], [m] "
            "and [m, d]: an adapter of grace that holds an edit"
        )


def _check_factors(path: Path, places: Mapping[str, TensorPlace]) -> None:
    ranks: dict[str, dict[str, int]] = {}
    for name, place in places.items():
        match = _FACTOR.fullmatch(name)
        if match is None or len(place.shape) != 2:
            raise InvalidInputError(f"{path} holds {name} {place.shape}, which is no LoRA factor")
        ranks.setdefault(match[1], {})[match[2]] = place.shape[0 if match[2] == "A" else 1]
    for module, pair in ranks.items():
        if len(pair) != 2 or pair["A"] != pair["B"] or not 0 < pair["A"] <= LARGEST_RANK:
            raise InvalidInputError(
                f"the factors of {module} have the ranks {pair}; expected A and B of one rank "
                f"from 1 to {LARGEST_RANK}"
            )
    if not ranks:
        raise InvalidInputError(f"{path} holds no tensors; there is nothing to serve")


def digest_of(path: Path) -> str:
    """Return SHA-256 (hex) of a file.

    Raises:
        MissingResourceError: it cannot be read.

    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error}") from error


def _kind(manifest: Mapping[str, Any]) -> str:
    """Return how an adapter came to be; a LoRA block of MELO was learned, and folded afterwards."""
    folded = "block" in manifest.get("notes", {})
    return "adapter" if folded else FORMATS[manifest["format"]]


def _codebook_needs(manifest: Mapping[str, Any]) -> str:
    entries = len(manifest["state"].get("entries", ()))
    return f"memedit's plugin with grace_layers [{int(manifest['layer'])}] and room for {entries}"


def _rank(config: Mapping[str, Any]) -> int:
    """Return the largest rank of a PEFT configuration that a server takes.

    Raises:
        ValueError: it is another kind of adapter.

    """
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{PEFT_CONFIG} is of a {config.get('peft_type')!r}, expected LORA")
    for name, plain in (("use_dora", False), ("use_rslora", False), ("bias", "none")):
        if config.get(name, plain) != plain:
            raise ValueError(f"{PEFT_CONFIG} has {name} {config[name]!r}, which is not served")
    if config.get("modules_to_save"):
        raise ValueError(f"{PEFT_CONFIG} has whole modules to save, which is not served")
    return max([int(config["r"]), *map(int, config.get("rank_pattern", {}).values())])


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingResourceError(
            f"no adapter at {path.parent}: there is no {path.name}"
        ) from None
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} holds a {type(value).__name__}, expected an object")
    return value
