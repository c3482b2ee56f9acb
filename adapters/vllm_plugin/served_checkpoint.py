"""The model that vLLM serves, as it lies on disk: what adapters are checked against."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from memedit.modeling.checkpoint import Checkpoint, opened


class ServedCheckpoint:
    """A checkpoint folder whose parts are read when they are first asked for, and then kept.

    May be used from several threads.
    """

    def __init__(self, folder: Path) -> None:
        """Remember the folder; nothing is read yet."""
        self.folder = Path(folder)
        self._lock = threading.Lock()

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint; raises as it does where there is none."""
        return Checkpoint(self.folder)

    @property
    def fingerprint(self) -> str:
        """``model_fingerprint``: about a second per gigabyte, once."""
        with self._lock:
            return self.checkpoint.fingerprint

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name of a stored tensor -> its shape; only headers are read."""
        found: dict[str, tuple[int, ...]] = {}
        for shard in self.checkpoint.shards:
            with opened(shard) as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    found[name] = tuple(file.get_slice(name).get_shape())
        return found

    def config(self) -> dict[str, Any]:
        """Return config.json as it stands."""
        text = (self.folder / "config.json").read_text(encoding="utf-8")
        return dict(json.loads(text))


def served_checkpoint(name: str) -> ServedCheckpoint | None:
    """Return the model that ``--model`` names, where that is a folder; else nothing is known."""
    folder = Path(name)
    return ServedCheckpoint(folder) if (folder / "config.json").is_file() else None
