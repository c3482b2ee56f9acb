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

NAME = "memedit"

Print = tuple[tuple[str, int, int, int], ...]


class LibraryResolver:
    """A LoRA resolver, as vLLM asks for one: ``LoRAResolver.resolve_lora``."""

    def __init__(self, library: AdapterLibrary) -> None:
        self.library = library
        self.served: Served | None = None
        """What the server was started with, once ``MemeditRoutes`` knows it: with it, what does
        not fit is refused with its reason; without, by vLLM in general words."""
        self._bases: dict[str, ServedCheckpoint | None] = {}
        self._prints: dict[str, Print] = {}

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
            check_adapter(folder, self.base(base_model_name), self.served)
            now = _print_of(folder)
        except OSError as error:
            raise MissingResourceError(f"its files cannot be read: {error.strerror}") from error
        # vLLM keeps what it computed with an adapter under its name and path, so that another
        # content would be answered with the former one's.
        if self._prints.setdefault(name, now) != now:
            raise InvalidInputError(
                "its files were changed since this server first served it; a version never "
                "changes: write another one"
            )
        return folder

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
    """vLLM's loaded adapters by name, without those of ours whose folder is gone.

    vLLM would read it again when it next needs the adapter, and end.  So a name is forgotten with
    its folder, and is then asked for anew, which is answered with 404.
    """

    def __contains__(self, name: object) -> bool:
        if not super().__contains__(name):
            return False
        if isinstance(name, str) and name.startswith(PREFIX):
            path = Path(self[name].lora_path)
            if path.is_absolute() and not path.is_dir():
                del self[name]
                return False
        return True


def _print_of(folder: Path) -> Print:
    """Return by what a changed folder is noticed, without reading its files once more."""
    names = (MANIFEST, PEFT_CONFIG, PEFT_TENSORS, TENSORS)
    found = [(name, (folder / name).stat()) for name in names if (folder / name).exists()]
    return tuple((name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in found)
