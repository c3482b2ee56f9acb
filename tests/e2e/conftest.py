"""One vLLM for the whole session; a relay and a proxy in front of it; memories apart by namespace.

Without ``.venv-vllm`` or a model the suite is skipped, unless ``MEMEDIT_REQUIRE_VLLM=1`` says that
it must run: then their absence is an error.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy, Vllm, missing_for_vllm
from tests.e2e.wires import COMPLETIONS, WIRES, post

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.e2e)
            if "vllm" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.vllm)
                if item.get_closest_marker("timeout") is None:
                    # The first of them waits for vLLM, which takes minutes on a busy machine.
                    item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    missing = missing_for_vllm()
    if missing is not None:
        if os.environ.get("MEMEDIT_REQUIRE_VLLM", "0") not in {"", "0"}:
            pytest.fail(f"MEMEDIT_REQUIRE_VLLM is set, but there is {missing}")
        pytest.skip(missing)
    with Vllm(tmp_path_factory.mktemp("vllm") / "vllm.log") as server:
        # Kernels are compiled at their first use, which may take seconds: now, not in a test.
        for wire in WIRES:
            wire.ask(server.url, "Hello there, how are you today?", tokens=2)
        sampled = {"logprobs": 2, "n": 2, "temperature": 0.5}
        post(server.url, COMPLETIONS.path, COMPLETIONS.body("Hello", tokens=2) | sampled)
        yield server


@pytest.fixture(scope="session")
def relay(vllm: Vllm) -> Iterator[Relay]:
    """Writes down what goes from the proxy to vLLM and back."""
    with Relay(vllm.port) as relay:
        yield relay


@pytest.fixture(scope="session")
def proxy(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("proxy"), relay.url) as proxy:
        yield proxy


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """Return a namespace that no other test uses."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", f"{request.node.name}-{next(_numbers)}")[:100]


@pytest.fixture
def mark() -> str:
    """Return a value for the header ``x-mark``, by which the relay's recording is searched."""
    return f"mark-{next(_numbers)}"
