"""Loading a checkpoint without the bar that transformers draws on any stderr, terminal or not."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_loading_bar() -> Iterator[None]:
    """Keep transformers' progress bars off for as long as the block lasts."""
    settings: Any = importlib.import_module("transformers.utils.logging")
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()
