"""The proxy around the routing core.

Reading order: ``app`` (what goes where), ``model_api`` (the hot path), ``batcher`` (decisions taken
together), ``upstream`` (the way to the served model), ``paths`` and ``auth`` (what is let through),
``edit_api``, ``server``.
"""

from memedit.serving.app import create_app
from memedit.serving.server import run

__all__ = ["create_app", "run"]
