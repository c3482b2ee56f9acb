"""A proxy with a library of adapters, in front of a vLLM that loads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memedit.config import AdapterSettings, ServeSettings
from memedit.library import Library
from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.routing.adapting import AdapterChooser
from memedit.serving import create_app
from memedit.types import Surface
from tests.library.loras import BASE
from tests.serving.adapters.adapted import Adapted
from tests.serving.fake_vllm import FakeVllm
from tests.serving.parts import (
    BeforeMethod,
    SimilarityClassifier,
)
from tests.serving.raw_upstream import RawUpstream
from tests.serving.served import Served


@pytest.fixture
def vllm(upstream: RawUpstream) -> FakeVllm:
    return FakeVllm(upstream)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture
def adapted(memory: EditMemory, library: Library, tmp_path: Path) -> Adapted:
    return Adapted(memory, library, tmp_path)


@pytest.fixture
def start(
    upstream: RawUpstream, memory: EditMemory, library: Library
) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(**chosen: Any) -> Served:
        settings = {"library": library.root, "base": BASE, "retry_after": 0.0} | chosen
        method: Any = ("before", BeforeMethod())
        router = Router(
            memory,
            SimilarityClassifier(),
            {Surface.CHAT: method, Surface.COMPLETION: method},
            adapters=AdapterChooser(memory.adapters.view, BASE),
        )
        served = Served(
            create_app(
                ServeSettings(upstream=upstream.url),
                router,
                memory,
                adapters=AdapterSettings(**settings),
            )
        )
        running.append(served)
        return served

    yield start
    for served in running:
        served.stop()
