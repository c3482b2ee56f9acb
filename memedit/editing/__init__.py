"""Baked methods, one file each: ``memedit.editing.FtM(config).edit(model, tokenizer, requests)``.

The names are loaded when they are first asked for: torch is paid for by who edits.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memedit.editing.alphaedit import AlphaEdit as AlphaEdit
    from memedit.editing.alphaedit import AlphaEditConfig as AlphaEditConfig
    from memedit.editing.base import Editor as Editor
    from memedit.editing.base import EditorConfig as EditorConfig
    from memedit.editing.bird import Bird as Bird
    from memedit.editing.bird import BirdConfig as BirdConfig
    from memedit.editing.catalog import EDITORS as EDITORS
    from memedit.editing.catalog import open_editor as open_editor
    from memedit.editing.emmet import Emmet as Emmet
    from memedit.editing.emmet import EmmetConfig as EmmetConfig
    from memedit.editing.ft_constrained import FtConstrained as FtConstrained
    from memedit.editing.ft_constrained import FtConstrainedConfig as FtConstrainedConfig
    from memedit.editing.ft_l import FtL as FtL
    from memedit.editing.ft_l import FtLConfig as FtLConfig
    from memedit.editing.ft_m import FtM as FtM
    from memedit.editing.ft_m import FtMConfig as FtMConfig
    from memedit.editing.kn import Kn as Kn
    from memedit.editing.kn import KnConfig as KnConfig
    from memedit.editing.memit import Memit as Memit
    from memedit.editing.memit import MemitConfig as MemitConfig
    from memedit.editing.pmet import Pmet as Pmet
    from memedit.editing.pmet import PmetConfig as PmetConfig
    from memedit.editing.r_rome import RRome as RRome
    from memedit.editing.r_rome import RRomeConfig as RRomeConfig
    from memedit.editing.rome import Rome as Rome
    from memedit.editing.rome import RomeConfig as RomeConfig
    from memedit.editing.statistics import Statistics as Statistics
    from memedit.editing.values import SearchConfig as SearchConfig

__all__ = [
    "EDITORS",
    "AlphaEdit",
    "AlphaEditConfig",
    "Bird",
    "BirdConfig",
    "Editor",
    "EditorConfig",
    "Emmet",
    "EmmetConfig",
    "FtConstrained",
    "FtConstrainedConfig",
    "FtL",
    "FtLConfig",
    "FtM",
    "FtMConfig",
    "Kn",
    "KnConfig",
    "Memit",
    "MemitConfig",
    "Pmet",
    "PmetConfig",
    "RRome",
    "RRomeConfig",
    "Rome",
    "RomeConfig",
    "SearchConfig",
    "Statistics",
    "open_editor",
]

_HOMES = {
    "EDITORS": "catalog",
    "AlphaEdit": "alphaedit",
    "AlphaEditConfig": "alphaedit",
    "Bird": "bird",
    "BirdConfig": "bird",
    "Editor": "base",
    "EditorConfig": "base",
    "Emmet": "emmet",
    "EmmetConfig": "emmet",
    "FtConstrained": "ft_constrained",
    "FtConstrainedConfig": "ft_constrained",
    "FtL": "ft_l",
    "FtLConfig": "ft_l",
    "FtM": "ft_m",
    "FtMConfig": "ft_m",
    "Kn": "kn",
    "KnConfig": "kn",
    "Memit": "memit",
    "MemitConfig": "memit",
    "Pmet": "pmet",
    "PmetConfig": "pmet",
    "RRome": "r_rome",
    "RRomeConfig": "r_rome",
    "Rome": "rome",
    "RomeConfig": "rome",
    "SearchConfig": "values",
    "Statistics": "statistics",
    "open_editor": "catalog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memedit.editing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memedit.editing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
