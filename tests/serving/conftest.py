from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memedit.config import ServeSettings
from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.serving import create_app
from memedit.types import Surface
from tests.serving.parts import BeforeMethod, SimilarityClassifier, WordsEncoder
from tests.serving.raw_upstream import RawUpstream
from tests.serving.served import Serve, Served


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    raw = RawUpstream()
    yield raw
    raw.stop()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(f"sqlite:///{tmp_path}/edits.db", WordsEncoder()) as opened:
        yield opened


@pytest.fixture
def router(memory: EditMemory) -> Router:
    method: Any = ("before", BeforeMethod())
    return Router(
        memory, SimilarityClassifier(), {Surface.CHAT: method, Surface.COMPLETION: method}
    )


@pytest.fixture
def serve(upstream: RawUpstream, memory: EditMemory, router: Router) -> Iterator[Serve]:
    """Return a function that starts a proxy with the given settings."""
    running: list[Served] = []

    def start(**settings: Any) -> Served:
        chosen = {"upstream": upstream.url, "host": "127.0.0.1"} | settings
        served = Served(create_app(ServeSettings(**chosen), router, memory))
        running.append(served)
        return served

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def proxy(serve: Serve) -> Served:
    return serve()
