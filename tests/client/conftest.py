"""A toy model, an edit memory on disk with the real encoder, and a real proxy over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import memedit
from memedit.config import ServeSettings, Settings
from memedit.memory import EditMemory
from memedit.scope.base import Encoder
from memedit.serving.app import create_app
from memedit.types import EditRequest
from memedit.wiring import open_router
from tests.client.toy_model import ToyModel
from tests.live_server import LiveServer

CAPITAL = EditRequest(
    prompt="The capital of Quendoria is",
    subject="Quendoria",
    target_new="Lindhaven",
    ground_truth="Oldcastle",
    rephrases=("What is the capital of Quendoria?",),
)
RIVER = EditRequest(
    prompt="The longest river of Marovia is the", subject="Marovia", target_new="Tamsin"
)
ASKED = "What is the capital of Quendoria?"
UNRELATED = "How many legs does a spider have?"


@pytest.fixture
def toy() -> ToyModel:
    return ToyModel()


@pytest.fixture
def upstream(serve: Callable[[ToyModel], LiveServer], toy: ToyModel) -> str:
    return serve(toy).url


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'edits.db'}"


@pytest.fixture
def memory(database: str, encoder: Encoder) -> Iterator[EditMemory]:
    with EditMemory.open(database, encoder) as memory:
        yield memory


@pytest.fixture
def settings(upstream: str, database: str) -> Settings:
    return Settings.read(flags={"memory": {"url": database}, "serve": {"upstream": upstream}})


@pytest.fixture
def proxy(serve: Callable[..., LiveServer], memory: EditMemory, settings: Settings) -> LiveServer:
    return serve(create_app(settings.serve, open_router(memory, settings), memory))


@pytest.fixture
def guarded_proxy(
    serve: Callable[..., LiveServer], memory: EditMemory, settings: Settings
) -> LiveServer:
    guarded = ServeSettings(upstream=settings.serve.upstream, admin_keys=("letmein",))
    return serve(create_app(guarded, open_router(memory, settings), memory))


@pytest.fixture
def client(proxy: LiveServer) -> Iterator[memedit.Client]:
    with memedit.Client(proxy.url) as client:
        yield client
