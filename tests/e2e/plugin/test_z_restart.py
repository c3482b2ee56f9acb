"""The server is killed and started again, then on two ranks; last here, for the others share it."""

from __future__ import annotations

import pytest

from tests.e2e.plugged import PluggedVllm
from tests.e2e.plugin_reference import Reference

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]


def test_a_restarted_server_serves_the_same_names(
    plugged: PluggedVllm, reference: Reference
) -> None:
    plugged.kill()
    plugged.start()
    asked = [(ids, name) for ids in reference.prompts for name in reference.ways]
    for said, (_, name) in zip(plugged.together(asked), asked, strict=True):
        reference.check(said, name)


def test_two_ranks_serve_the_same_codebooks(plugged: PluggedVllm, reference: Reference) -> None:
    """Tensor parallelism: each rank has half of every layer, and all of a codebook's keys."""
    plugged.kill()
    plugged.command += ["--tensor-parallel-size", "2", "--distributed-executor-backend", "mp"]
    plugged.start()
    asked = [(ids, name) for ids in reference.prompts for name in reference.ways]
    for said, (_, name) in zip(plugged.together(asked), asked, strict=True):
        reference.check(said, name)
