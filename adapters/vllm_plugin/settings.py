"""What the plugin is told by vLLM's own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memedit.errors import SettingsError

SECTION = "memedit"
CAPACITY = 256
_HOW = """--additional-config '{"memedit": {"grace_layers": [4], "grace_capacity": 256}}'"""


@dataclass(frozen=True, slots=True)
class GraceSettings:
    """Where GRACE adapters may look things up.

    They stand in ``--additional-config``, because that is part of the hash under which vLLM keeps
    compiled models.
    """

    layers: tuple[int, ...] = ()
    """The layers at which adapters may look; empty: GRACE is not served."""
    capacity: int = CAPACITY
    """Entries that one adapter may have.  Each takes 4 + 2 (bfloat16) or 4 + 4 bytes times the
    model's width, for every layer here and every one of ``--max-loras``."""

    @classmethod
    def read(cls, additional_config: Any) -> GraceSettings:
        """Read them out of vLLM's ``additional_config``.

        Raises:
            SettingsError: an unknown name, or a value that is none.

        """
        whole = additional_config if isinstance(additional_config, Mapping) else {}
        said = whole.get(SECTION, {})
        if not isinstance(said, Mapping):
            raise SettingsError(f"additional_config.{SECTION} is {said!r}; expected {_HOW}")
        if unknown := sorted(set(map(str, said)) - {"grace_layers", "grace_capacity"}):
            raise SettingsError(
                f"additional_config.{SECTION} has no {', '.join(unknown)}; expected {_HOW}"
            )
        layers, capacity = said.get("grace_layers", []), said.get("grace_capacity", CAPACITY)
        good = isinstance(layers, list | tuple) and all(type(n) is int and n >= 0 for n in layers)
        if not good or len(set(layers)) < len(layers):
            raise SettingsError(f"grace_layers is {layers!r}; expected numbers of layers, from 0")
        if type(capacity) is not int or not 1 <= capacity <= 1 << 20:
            raise SettingsError(f"grace_capacity is {capacity!r}; expected a number from 1")
        return cls(tuple(layers), capacity)

    def how_to(self, layer: int, entries: int) -> str:
        """Say how vLLM is to be started for an adapter of that layer and size."""
        layers = sorted({*self.layers, layer})
        capacity = max(self.capacity, 1 << (max(entries, 1) - 1).bit_length())
        said = f'{{"memedit": {{"grace_layers": {layers}, "grace_capacity": {capacity}}}}}'
        return f"start vLLM with --additional-config '{said}'"


@dataclass(frozen=True, slots=True)
class Served:
    """What the running vLLM was started with, as far as adapters are concerned."""

    grace: GraceSettings
    max_lora_rank: int

    @classmethod
    def read(cls, vllm_config: Any) -> Served | None:
        """Read it out of a ``VllmConfig``; ``None`` where LoRA is not enabled.

        Raises:
            SettingsError: see ``GraceSettings.read``.

        """
        if vllm_config.lora_config is None:
            return None
        return cls(
            GraceSettings.read(vllm_config.additional_config),
            int(vllm_config.lora_config.max_lora_rank),
        )
