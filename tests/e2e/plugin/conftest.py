"""One vLLM with memedit's plugin for the files of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.plugged import PluggedVllm
from tests.e2e.plugin_reference import Reference
from tests.e2e.stack import missing_for_vllm


@pytest.fixture(scope="package")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    missing = missing_for_vllm()
    if missing is not None:
        if os.environ.get("MEMEDIT_REQUIRE_VLLM", "0") not in {"", "0"}:
            pytest.fail(f"MEMEDIT_REQUIRE_VLLM is set, but there is {missing}")
        pytest.skip(missing)
    return Reference(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="package")
def plugged(
    reference: Reference, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PluggedVllm]:
    log = tmp_path_factory.mktemp("plugged") / "vllm.log"
    with PluggedVllm(log, reference.library) as server:
        yield server


@pytest.fixture
def unharmed(plugged: PluggedVllm, reference: Reference) -> Iterator[None]:
    """Afterwards the server runs, and the model's own answers are what they were, to the bit."""
    before = [plugged.said(ids) for ids in reference.prompts]
    yield
    assert plugged.running
    assert [plugged.said(ids) for ids in reference.prompts] == before
    reference.check(plugged.said(reference.prompts[0], "memedit-grace-1"), "memedit-grace-1")
