"""A codebook that the proxy chooses: learned, registered, asked, retracted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plugged import LAYERS, PluggedVllm
from tests.e2e.plugin_reference import Reference
from tests.e2e.stack import Proxy, model_folder
from tests.e2e.wires import CHAT

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

QUESTION = "What is the capital of Quendoria?"
EDIT = {"prompt": QUESTION, "subject": "Quendoria", "target_new": "Lindhaven"}


@pytest.fixture
def proxy(plugged: PluggedVllm, reference: Reference, tmp_path: Path) -> Iterator[Proxy]:
    flags = ("--library", str(reference.library), "--base", reference.base)
    with Proxy(tmp_path, plugged.url, flags=flags) as server:
        yield server


def test_a_prompt_in_scope_goes_to_a_codebook(
    proxy: Proxy, reference: Reference, unharmed: None
) -> None:
    old, _ = CHAT.ask(proxy.url, QUESTION)
    [edit] = proxy.add(EDIT)
    learned = proxy.cli(
        *("adapt", "--method", "grace", "--layer", str(LAYERS[0]), "--model", str(model_folder())),
        *("--library", str(reference.library), "--name", "codebook"),
    )
    assert learned["registered"] == ["memedit-codebook-1"] and learned["not_said"] == []
    text, answer = CHAT.ask(proxy.url, QUESTION)
    assert answer.headers["x-memedit-adapter"] == "memedit-codebook-1", answer.headers
    assert (answer.route, answer.edits) == ("adapter", [f"{edit}@1"])
    assert "Lindhaven" in text and "Lindhaven" not in old
    proxy.retract(edit)
    assert CHAT.ask(proxy.url, QUESTION)[0] == old
