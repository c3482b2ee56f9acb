"""Adapters, one file each: ``memedit.adapters.Grace().learn(model, tokenizer, requests)``.

Installed as ``memedit.adapters``; see DESIGN: the folder stands beside the package.  The names are
loaded when they are first asked for: torch is paid for by who learns or attaches one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if __name__ != "memedit.adapters":
    raise ImportError(
        f"imported as {__name__!r}; import 'memedit.adapters' instead "
        "(a second copy under another name would not share its classes)"
    )

if TYPE_CHECKING:
    from memedit.adapters.adalora import AdaLora as AdaLora
    from memedit.adapters.adalora import AdaLoraSettings as AdaLoraSettings
    from memedit.adapters.base import Adapter as Adapter
    from memedit.adapters.blocks import TrainingConfig as TrainingConfig
    from memedit.adapters.calinet import Calinet as Calinet
    from memedit.adapters.calinet import CalinetConfig as CalinetConfig
    from memedit.adapters.catalog import ADAPTERS as ADAPTERS
    from memedit.adapters.catalog import open_adapter as open_adapter
    from memedit.adapters.files import load_adapter as load_adapter
    from memedit.adapters.grace import Grace as Grace
    from memedit.adapters.grace import GraceConfig as GraceConfig
    from memedit.adapters.grace_values import SearchConfig as SearchConfig
    from memedit.adapters.language_patches import LanguagePatches as LanguagePatches
    from memedit.adapters.language_patches import LanguagePatchesConfig as LanguagePatchesConfig
    from memedit.adapters.learned import AdapterConfig as AdapterConfig
    from memedit.adapters.learned import Host as Host
    from memedit.adapters.learned import Learned as Learned
    from memedit.adapters.lora import Lora as Lora
    from memedit.adapters.lora import LoraSettings as LoraSettings
    from memedit.adapters.melo import Melo as Melo
    from memedit.adapters.melo import MeloConfig as MeloConfig
    from memedit.adapters.neuron_memory import MemoryConfig as MemoryConfig
    from memedit.adapters.neuron_training import NeuronConfig as NeuronConfig
    from memedit.adapters.remedi import Remedi as Remedi
    from memedit.adapters.remedi import RemediConfig as RemediConfig
    from memedit.adapters.shard_training import ShardConfig as ShardConfig
    from memedit.adapters.t_patcher import TPatcher as TPatcher
    from memedit.adapters.t_patcher import TPatcherConfig as TPatcherConfig
    from memedit.adapters.wise import Wise as Wise
    from memedit.adapters.wise import WiseConfig as WiseConfig

__all__ = [
    "ADAPTERS",
    "AdaLora",
    "AdaLoraSettings",
    "Adapter",
    "AdapterConfig",
    "Calinet",
    "CalinetConfig",
    "Grace",
    "GraceConfig",
    "Host",
    "LanguagePatches",
    "LanguagePatchesConfig",
    "Learned",
    "Lora",
    "LoraSettings",
    "Melo",
    "MeloConfig",
    "MemoryConfig",
    "NeuronConfig",
    "Remedi",
    "RemediConfig",
    "SearchConfig",
    "ShardConfig",
    "TPatcher",
    "TPatcherConfig",
    "TrainingConfig",
    "Wise",
    "WiseConfig",
    "load_adapter",
    "open_adapter",
]

_HOMES = {
    "ADAPTERS": "catalog",
    "AdaLora": "adalora",
    "AdaLoraSettings": "adalora",
    "Adapter": "base",
    "AdapterConfig": "learned",
    "Calinet": "calinet",
    "CalinetConfig": "calinet",
    "Grace": "grace",
    "GraceConfig": "grace",
    "Host": "learned",
    "LanguagePatches": "language_patches",
    "LanguagePatchesConfig": "language_patches",
    "Learned": "learned",
    "Lora": "lora",
    "LoraSettings": "lora",
    "Melo": "melo",
    "MeloConfig": "melo",
    "MemoryConfig": "neuron_memory",
    "NeuronConfig": "neuron_training",
    "Remedi": "remedi",
    "RemediConfig": "remedi",
    "SearchConfig": "grace_values",
    "ShardConfig": "shard_training",
    "TPatcher": "t_patcher",
    "TPatcherConfig": "t_patcher",
    "TrainingConfig": "blocks",
    "Wise": "wise",
    "WiseConfig": "wise",
    "load_adapter": "files",
    "open_adapter": "catalog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memedit.adapters' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memedit.adapters.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
