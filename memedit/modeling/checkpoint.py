"""A checkpoint on disk, tensor by tensor: read without a model of it in memory."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.fingerprint import model_fingerprint, weights_fingerprint
from memedit.modeling.loading_bar import without_loading_bar

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Checkpoint:
    """A folder with config.json and safetensors, in one file or in shards with an index."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's headers; no tensor is read yet.

        Raises:
            MissingResourceError: it is no checkpoint folder, or a file of it is not there.
            InvalidInputError: its weights are pickled, or a file is not what its name says.

        """
        self.folder = Path(folder)
        self.index = self.folder / INDEX
        """Names the shards; not there where all is in one file."""
        for path in (self.folder, self.folder / "config.json"):
            if not path.exists():
                raise MissingResourceError(
                    f"{path} is not there; expected a checkpoint folder with config.json and "
                    "safetensors"
                )
        names = self._shard_names()
        self.shards: tuple[Path, ...] = tuple(self.folder / name for name in names)
        """The files with weights, in the order of their names."""
        files: dict[str, Path] = {}
        for path in self.shards:
            with opened(path) as file:
                files |= dict.fromkeys(file.keys(), path)
        self.files: Mapping[str, Path] = files
        """Name of a stored tensor -> the file that it is in."""

    def _shard_names(self) -> list[str]:
        if self.index.is_file():
            try:
                weights = json.loads(self.index.read_text(encoding="utf-8"))["weight_map"]
                names = sorted(set(weights.values()))
                if not all(Path(name).name == name for name in names):
                    raise ValueError("a shard is not in the folder itself")
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise InvalidInputError(f"{self.index} is no index of weights: {error}") from error
        elif (self.folder / SINGLE).is_file():
            names = [SINGLE]
        elif pickled := sorted(path.name for path in self.folder.glob("*.bin")):
            raise InvalidInputError(
                f"{self.folder} holds pickled weights ({pickled[0]}), which are not read; load "
                "the model and save it again: save_pretrained writes safetensors"
            )
        else:
            raise MissingResourceError(f"{self.folder} has neither {SINGLE} nor {INDEX}")
        if lost := [name for name in names if not (self.folder / name).is_file()]:
            raise MissingResourceError(
                f"{self.folder} lacks {len(lost)} of {len(names)} weight files: {', '.join(lost)}"
            )
        return names

    @cached_property
    def config(self) -> Any:
        """The configuration, as transformers reads it."""
        transformers: Any = importlib.import_module("transformers")
        try:
            return transformers.AutoConfig.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInputError(
                f"{self.folder}/config.json cannot be read as a model's: {error}"
            ) from error

    @cached_property
    def skeleton(self) -> nn.Module:
        """The causal language model on the meta device: modules, names and shapes, no numbers."""
        transformers: Any = importlib.import_module("transformers")
        try:
            with torch.device("meta"):
                model = transformers.AutoModelForCausalLM.from_config(self.config)
        except ValueError as error:
            raise InvalidInputError(f"{self.folder} is no causal language model: {error}") from None
        assert isinstance(model, nn.Module)
        return model

    @cached_property
    def fingerprint(self) -> str:
        """``model_fingerprint`` of the model as it is stored, read a tensor at a time.

        Where transformers renames tensors on loading, the model is loaded as a whole for it.
        """
        names = sorted(name for name, _ in self.skeleton.named_parameters())
        try:
            stored = [(name, self.stored(name)[0]) for name in names]
        except InvalidInputError:
            transformers: Any = importlib.import_module("transformers")
            with without_loading_bar():
                model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                    self.folder, dtype="auto", local_files_only=True, use_safetensors=True
                )
            return model_fingerprint(model)
        return weights_fingerprint(
            self.config.to_dict(), ((name, self.read(as_stored)) for name, as_stored in stored)
        )

    def read(self, stored: str) -> Tensor:
        """Read one tensor by the name that it is stored under, on the CPU."""
        with opened(self.files[stored]) as file:
            tensor = file.get_tensor(stored)
            assert isinstance(tensor, Tensor)
            return tensor

    def stored(self, name: str) -> tuple[str, ...]:
        """Return under which names the model's parameter ``name`` is stored.

        Usually its own.  Tied weights are stored under the name of one of them (or of each), and a
        checkpoint saved without the language-modelling head leaves the first part of names out.

        Raises:
            InvalidInputError: the model has no such parameter, or it is not in the checkpoint.

        """
        there = dict(self.skeleton.named_parameters(remove_duplicate=False))
        if name not in there:
            raise InvalidInputError(
                f"the model in {self.folder} has no parameter {name!r}; the delta was computed for "
                "another architecture"
            )
        same = [other for other, parameter in there.items() if parameter is there[name]]
        found = tuple(other for other in same if other in self.files)
        if not found:
            prefix = f"{getattr(self.skeleton, 'base_model_prefix', '')}."
            short = [other.removeprefix(prefix) for other in same if other.startswith(prefix)]
            found = tuple(other for other in short if other in self.files)
        if not found:
            raise InvalidInputError(
                f"{name} is not in the checkpoint {self.folder} under a known name; it holds "
                f"{', '.join(sorted(self.files)[:3])}, ... Load the model with transformers and "
                "save it again: save_pretrained writes the names of today"
            )
        return found

    def weights(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read some of the model's parameters, by the model's own names."""
        return {name: self.read(self.stored(name)[0]) for name in names}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file for reading on the CPU.

    Raises:
        InvalidInputError: it is none, or is cut off.

    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InvalidInputError(f"{path} is no whole safetensors file: {error}") from error
