"""What every room's tests may ask for: an isolated machine, the real encoder, live servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from memedit.config import EncoderSettings, Settings
from memedit.scope.base import Encoder
from tests.e2e.findings import FINDINGS
from tests.live_server import LiveServer

REPOSITORY = Path(__file__).resolve().parents[1]
END_TO_END = "tests/e2e/"
OWN_SERVER = ("tests/e2e/test_adapters.py", "tests/e2e/plugin/")
"""These start a vLLM of their own, with other flags than that which the rest shares."""
# How long an example takes says more about the machine than about memedit.
hypothesis_settings.register_profile(
    "memedit", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("memedit")

SECTIONS = tuple(f"MEMEDIT_{section.upper()}" for section in Settings.sections)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what needs a running stack last: servers that only wait still take their share.

    With several processes it comes first: it takes longest, and mostly waits for servers.
    """
    several = hasattr(config, "workerinput")
    items.sort(key=lambda item: item.nodeid.startswith(END_TO_END) is not several)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep what shares a vLLM in one process, and every other file, for their fixtures' sake."""
    from xdist.scheduler import LoadScopeScheduling

    class ByStack(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            places = (*OWN_SERVER, END_TO_END)
            return next((place for place in places if file.startswith(place)), file)

    return ByStack(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a process found out to the one that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["findings"] = list(FINDINGS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    FINDINGS.extend(getattr(node, "workeroutput", {}).get("findings", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FINDINGS:
        terminalreporter.section("what the end-to-end suite measured")
        for line in FINDINGS:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def isolated_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own settings and caches out, here and in every child process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(SECTIONS) or name in ("MEMEDIT_URL", "MEMEDIT_KEY"):
                patch.delenv(name)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def encoder(isolated_machine: None) -> Encoder:
    """Return the real default encoder."""
    from memedit.scope.encoder import open_encoder

    return open_encoder(EncoderSettings())


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny random Llama."""
    from tests.tiny_checkpoint import save_tiny_llama

    return save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def serve() -> Iterator[Callable[[Any], LiveServer]]:
    """Serve ASGI apps on free ports until the test ends."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(LiveServer(app))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of the benchmark files; tests that need it are marked `data`."""
    folder = Path(os.environ.get("MEMEDIT_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no benchmark data in {folder}; MEMEDIT_DATA names another folder")
    return folder
