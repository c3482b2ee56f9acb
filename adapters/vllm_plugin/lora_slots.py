"""GRACE carried by vLLM's LoRA slots.

What vLLM does for a LoRA (chosen by a request's ``model``, loaded when it is first needed, the
least recently used one put out, a namespace of its own in the prefix cache) is what a codebook
needs as well.  So a GRACE adapter is given to vLLM as a LoRA without factors; its entries go
into the region of the slot that the LoRA gets, and a token's LoRA slot says where it looks.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memedit.adapters.vllm_plugin import grace_operation
from memedit.adapters.vllm_plugin.checks import Kind, check_grace_fits, grace_book, kind_of
from memedit.adapters.vllm_plugin.grace_table import Book, GraceTable
from memedit.adapters.vllm_plugin.library import PREFIX
from memedit.adapters.vllm_plugin.settings import GraceSettings, Served
from memedit.adapters.vllm_plugin.token_slots import TokenSlots
from memedit.errors import SettingsError

MARK = "memedit_carries_codebooks"
_MLP = re.compile(r"(?:^|.*\.)(?:layers|h|blocks)\.(\d+)\.(?:mlp|feed_forward)")


def carry_codebooks() -> None:
    """Have vLLM's LoRA managers carry codebooks; a second time, it is the same.

    ``LoRAModelManager`` and ``WorkerLoRAManager`` are changed, for this process.
    """
    models: Any = importlib.import_module("vllm.lora.model_manager").LoRAModelManager
    workers: Any = importlib.import_module("vllm.lora.worker_manager").WorkerLoRAManager
    if hasattr(models, MARK):
        return
    setattr(models, MARK, True)
    models.__init__ = _with_tables(models.__init__)
    models.activate_adapter = _writing_entries(models.activate_adapter)
    workers._load_adapter = _reading_codebooks(workers._load_adapter)


def mlps_of(model: Any, layers: tuple[int, ...]) -> dict[int, tuple[str, Any]]:
    """Return name and module of the MLP of each layer.

    Raises:
        SettingsError: a layer has none that is known.

    """
    found: dict[int, tuple[str, Any]] = {}
    for name, module in model.named_modules():
        if (said := _MLP.fullmatch(name)) and int(said[1]) in layers:
            found.setdefault(int(said[1]), (name, module))
    if lost := sorted(set(layers) - set(found)):
        raise SettingsError(
            f"grace_layers: {type(model).__name__} has no MLP at {lost}; expected layers of the "
            "model, whose MLPs are called layers.N.mlp or h.N.mlp"
        )
    return found


def _with_tables(original: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def begin(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        said = signature.bind(self, *args, **kwargs).arguments
        config = said["vllm_config"]
        self.memedit_tables = {}
        settings = GraceSettings.read(config.additional_config)
        if not settings.layers:
            return
        # The language model's, where there are several.
        wrapper = next(iter(self.punica_wrapper_mapping.values()))
        self.memedit_slots = TokenSlots(wrapper, self.lora_slots)
        width = int(config.model_config.hf_config.get_text_config().hidden_size)
        grace_operation.define_operation()
        for layer, (name, mlp) in mlps_of(self.model, settings.layers).items():
            table = GraceTable(
                self.lora_slots,
                settings.capacity,
                width,
                self.memedit_slots.slots,
                config.model_config.dtype,
            )
            self.memedit_tables[layer] = table
            looking_up(mlp, f"memedit.{name}", table, config.compilation_config)

    return begin


def looking_up(mlp: Any, name: str, table: GraceTable, compilation_config: Any) -> None:
    """Make a module look its output up in a table, in place.

    Its class becomes a subclass: names of parameters stay, as LoRA needs, and the look-up is part
    of what torch.compile sees, which a hook is not.  The table is found by its name where vLLM's
    attention layers are, so that no compiled code holds on to it.
    """
    compilation_config.static_forward_context[name] = table
    kind: Any = type(mlp)
    operation: Any = getattr(torch.ops.vllm, grace_operation.NAME)

    def forward(self: Any, states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = kind.forward(self, states, *args, **kwargs)
        operation(states, out, name)
        return out

    mlp.__class__ = type(f"{kind.__name__}WithGrace", (kind,), {"forward": forward})


def _writing_entries(original: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(original)
    def activate(self: Any, lora_id: int) -> bool:
        fresh = original(self, lora_id)
        if fresh and self.memedit_tables:
            slot = self.lora_index_to_id.index(lora_id)
            lora = self._registered_adapters[lora_id]
            book: Book | None = getattr(lora, "memedit_book", None)
            self.memedit_slots.mark(slot, bare=getattr(lora, "memedit_bare", False))
            self._last_mapping = None  # the same mapping may mean other things from now on
            for layer, table in self.memedit_tables.items():
                table.write(slot, book.table if book and book.layer == layer else None)
        return fresh

    return activate


def _reading_codebooks(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(self: Any, lora_request: Any) -> Any:
        if not lora_request.lora_name.startswith(PREFIX):
            return original(self, lora_request)
        number = lora_request.lora_int_id
        known: set[int] = self.__dict__.setdefault("memedit_known", set())
        try:
            lora = _read(self, lora_request, original)
        except Exception:
            if number not in known:
                raise  # asked for by a call of its own, which is answered with the error
            # Needed again for a step of the running batch, where an error would end vLLM.
            logging.getLogger("vllm.memedit").exception(
                "the adapter %r can no longer be read; until it is unloaded, requests that name "
                "it and were let in are answered by the model alone",
                lora_request.lora_name,
            )
            self.__dict__.setdefault("memedit_lost", {})[number] = lora_request.lora_name
            return _empty(number)
        known.add(number)
        self.__dict__.setdefault("memedit_lost", {}).pop(number, None)
        return lora

    return load


def _read(manager: Any, request: Any, original: Callable[..., Any]) -> Any:
    folder = Path(request.lora_path)
    # What is not there, vLLM says in its own words.
    if not folder.is_dir() or kind_of(folder) is not Kind.GRACE:
        return original(manager, request)
    book = grace_book(folder)
    rank = manager.lora_config.max_lora_rank
    tables = manager._adapter_manager.memedit_tables
    capacity = next((table.capacity for table in tables.values()), 0)
    check_grace_fits(book, Served(GraceSettings(tuple(tables), capacity), rank))
    if book.table.keys.shape[1] != (width := tables[book.layer].width):
        raise ValueError(f"keys of {book.table.keys.shape[1]} numbers, expected {width}")
    lora = _empty(request.lora_int_id)
    lora.memedit_book = book
    return lora


def _empty(number: int) -> Any:
    """Return a LoRA that changes nothing: it has factors, as vLLM wants, of no module there is."""
    kind: Any = importlib.import_module("vllm.lora.lora_model").LoRAModel
    weights: Any = importlib.import_module("vllm.lora.lora_weights").LoRALayerWeights
    nowhere = "memedit.nowhere"
    zero = weights(nowhere, 1, 1, torch.zeros(1, 1), torch.zeros(1, 1))
    lora = kind(number, 1, {nowhere: zero})
    lora.memedit_bare = True
    return lora
