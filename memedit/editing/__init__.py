"""Baked methods, one file each: ``memedit.editing.FtM(config).edit(model, tokenizer, requests)``.

The names are loaded when they are first asked for: torch is paid for by who edits.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memedit.editing.base import Editor as Editor
    from memedit.editing.base import EditorConfig as EditorConfig
    from memedit.editing.catalog import EDITORS as EDITORS
    from memedit.editing.catalog import open_editor as open_editor
    from memedit.editing.ft_constrained import FtConstrained as FtConstrained
    from memedit.editing.ft_constrained import FtConstrainedConfig as FtConstrainedConfig
    from memedit.editing.ft_l import FtL as FtL
    from memedit.editing.ft_l import FtLConfig as FtLConfig
    from memedit.editing.ft_m import FtM as FtM
    from memedit.editing.ft_m import FtMConfig as FtMConfig

__all__ = [
    "EDITORS",
    "Editor",
    "EditorConfig",
    "FtConstrained",
    "FtConstrainedConfig",
    "FtL",
    "FtLConfig",
    "FtM",
    "FtMConfig",
    "open_editor",
]

_HOMES = {
    "EDITORS": "catalog",
    "Editor": "base",
    "EditorConfig": "base",
    "FtConstrained": "ft_constrained",
    "FtConstrainedConfig": "ft_constrained",
    "FtL": "ft_l",
    "FtLConfig": "ft_l",
    "FtM": "ft_m",
    "FtMConfig": "ft_m",
    "open_editor": "catalog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memedit.editing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memedit.editing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
