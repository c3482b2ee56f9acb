"""The server is killed and started again: last of this folder, which shares it."""

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
