"""Adapters by the name that a request gives as its ``model``, found when they are first asked for.

Nothing is registered beforehand, so that a restarted server, or another replica on the same
library, serves the same names at once.  vLLM asks only where it was started with
``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from pathlib import Path
from typing import Any

from memedit.adapters.files import MANIFEST, PEFT_CONFIG, PEFT_TENSORS, TENSORS
from memedit.adapters.vllm_plugin.checks import check_adapter
from memedit.adapters.vllm_plugin.library import PREFIX, AdapterLibrary
from memedit.adapters.vllm_plugin.served_checkpoint import ServedCheckpoint, served_checkpoint
from memedit.adapters.vllm_plugin.settings import Served
from memedit.errors import InvalidInputError, MemeditError, MissingResourceError, NotFoundError
from memedit.modeling.delta_files import file_sha256

NAME = "memedit"
FILES = (MANIFEST, PEFT_CONFIG, PEFT_TENSORS, TENSORS)

Print = tuple[tuple[str, int, int, int, int], ...]


class LibraryResolver:
    """A LoRA resolver, as vLLM asks for one: ``LoRAResolver.resolve_lora``."""

    def __init__(self, library: AdapterLibrary) -> None:
        self.library = library
        self.served: Served | None = None
        """What the server was started with, once ``MemeditRoutes`` knows it: with it, what does
        not fit is refused with its reason; without, by vLLM in general words."""
        self._bases: dict[str, ServedCheckpoint | None] = {}
        self._prints: dict[str, Print] = {}  # as of when it was last found to be good, by name
        self._contents: dict[str, dict[str, str]] = {}  # as of when vLLM first had it, by name

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """Return the ``LoRARequest`` of an adapter; ``None`` for names that are not ours.

        Raises:
            VLLMNotFoundError: no such adapter (404).
            VLLMValidationError: it cannot be served, and why (400).

        """
        if not lora_name.startswith(PREFIX):
            return None
        errors: Any = importlib.import_module("vllm.exceptions")
        try:
            folder = await asyncio.to_thread(self.checked, base_model_name, lora_name)
        except NotFoundError as error:
            raise errors.VLLMNotFoundError(str(error)) from error
        except MemeditError as error:
            logging.getLogger("vllm.memedit").warning("refused %r: %s", lora_name, error)
            raise errors.VLLMValidationError(
                f"the adapter {lora_name!r} cannot be served: {error}", parameter="model"
            ) from error
        request: Any = importlib.import_module("vllm.lora.request").LoRARequest
        # vLLM gives it a number of its own.
        return request(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))

    def checked(self, base_model_name: str, name: str) -> Path:
        """Return the folder of an adapter that is fit to be served; reads files.

        Raises:
            NotFoundError: there is none of that name.
            InvalidInputError: it cannot be served, or is not what it was when it was first served.
            MissingResourceError: a file of it is not there.

        """
        folder = self.library.folder(name)
        try:
            now = print_of(folder)  # before they are read: what changes meanwhile shows later
            check_adapter(folder, self.base(base_model_name), self.served)
            contents = _contents(folder, now)
        except OSError as error:
            raise MissingResourceError(f"its files cannot be read: {error.strerror}") from error
        # vLLM keeps what it computed with an adapter under its name and path, so that another
        # content would be answered with the former one's.
        same = (
            self._contents[name] == contents
            if name in self._contents
            else self._prints.get(name, now) == now
        )
        if not same:
            raise InvalidInputError(
                "its files were changed since this server first served it; a version never "
                "changes: another content is another version"
            )
        self._contents[name], self._prints[name] = contents, now
        return folder

    def given(self, name: str, folder: Path) -> None:
        """Take note of what vLLM has as an adapter, perhaps by a call of its own; reads it."""
        if name in self._contents:
            return
        self._prints[name] = print_of(folder)
        try:
            self._contents[name] = _contents(folder, self._prints[name])
        except MissingResourceError as error:  # then it is served until something is touched
            logging.getLogger("vllm.memedit").warning("%r cannot be read: %s", name, error)

    def stands(self, name: str, folder: Path) -> bool:
        """Tell whether an adapter's files are those that were last found to be good: no reading."""
        return folder.is_dir() and print_of(folder) == self._prints.get(name)

    def base(self, model: str) -> ServedCheckpoint | None:
        """Return the checkpoint that vLLM's ``--model`` names, always the same object."""
        if model not in self._bases:
            self._bases[model] = served_checkpoint(model)
        return self._bases[model]


def find_adapters_in(root: str) -> None:
    """Have vLLM ask for the names of a library; a second time, it is the same."""
    registry: Any = importlib.import_module("vllm.lora.resolver").LoRAResolverRegistry
    if NAME not in registry.get_supported_resolvers():
        registry.register_resolver(NAME, LibraryResolver(AdapterLibrary(root)))


def library_resolver() -> LibraryResolver | None:
    """Return the resolver that vLLM asks in this process."""
    registry: Any = importlib.import_module("vllm.lora.resolver").LoRAResolverRegistry
    if NAME not in registry.get_supported_resolvers():
        return None
    found = registry.get_resolver(NAME)
    return found if isinstance(found, LibraryResolver) else None


class StandingRequests(dict[str, Any]):
    """vLLM's loaded adapters by name, without those of ours whose files are not what they were.

    vLLM would read them again when it next needs the adapter, and answer by the model alone.  So a
    name is forgotten once its folder is gone or a file of it was touched, and is then asked for
    anew: it is looked through again, and served, or refused with the reason.
    """

    def __init__(self, requests: dict[str, Any], resolver: LibraryResolver) -> None:
        super().__init__()
        self._resolver = resolver
        for name, request in requests.items():
            self[name] = request

    def __setitem__(self, name: str, request: Any) -> None:
        super().__setitem__(name, request)
        if (folder := self._folder(name)) is not None:
            self._resolver.given(name, folder)

    def __contains__(self, name: object) -> bool:
        if not super().__contains__(name):
            return False
        if isinstance(name, str):
            folder = self._folder(name)
            if folder is not None and not self._resolver.stands(name, folder):
                del self[name]
                return False
        return True

    def _folder(self, name: str) -> Path | None:
        """Return where an adapter of ours lies; ``None`` of others, and of what is no folder."""
        path = Path(self[name].lora_path)
        return path if name.startswith(PREFIX) and path.is_absolute() else None


def _contents(folder: Path, files: Print) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name, *_ in files}


def print_of(folder: Path) -> Print:
    """Return by what a changed file is noticed without being read, for those that are there.

    Size and times alone could be put back by who copies another file over one; the time of the
    last change of the file's entry cannot.
    """
    found = []
    for name in FILES:
        try:
            s = (folder / name).stat()
        except OSError:
            continue  # whoever reads it says why it cannot be
        found.append((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
    return tuple(found)
