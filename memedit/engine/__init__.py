"""The embedded engine: a small OpenAI-compatible server over transformers.

Importing the package imports neither torch nor transformers; asking for ``create_engine_app`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memedit.engine.run import run_engine

if TYPE_CHECKING:
    from memedit.engine.app import create_engine_app

__all__ = ["create_engine_app", "run_engine"]


def __getattr__(name: str) -> Any:
    if name == "create_engine_app":
        from memedit.engine.app import create_engine_app

        return create_engine_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
