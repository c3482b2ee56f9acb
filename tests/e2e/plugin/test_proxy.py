"""A codebook that the proxy chooses: learned, registered, asked, damaged, retracted."""

from __future__ import annotations

import shutil
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
    settings = {"ADAPTERS__RETRY_AFTER": "0"}
    with Proxy(tmp_path, plugged.url, flags=flags, settings=settings) as server:
        yield server


def test_a_prompt_in_scope_goes_to_a_codebook(
    proxy: Proxy, plugged: PluggedVllm, reference: Reference, tmp_path: Path, unharmed: None
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

    library = shutil.copytree(reference.library, tmp_path / "library")
    tensors = reference.library / "memedit-codebook-1" / "adapter.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(b"\xff" * len(whole))
    _is_in_the_context(proxy, "adapter-failed:damaged")
    refused = plugged.complete(reference.prompts[0], "memedit-codebook-1")
    assert refused.status == 400 and b"cannot be served" in refused.body
    (tmp_path / "second").mkdir()
    # A proxy whose own library is whole hears it from the plugin.
    flags = ("--memory", proxy.memory, "--library", str(library), "--base", reference.base)
    settings = {"ADAPTERS__LOADING": "resolver"}
    with Proxy(tmp_path / "second", plugged.url, flags=flags, settings=settings) as other:
        _is_in_the_context(other, "adapter-failed:refused")
    tensors.write_bytes(whole)
    again, answer = CHAT.ask(proxy.url, QUESTION)
    assert (again, answer.route) == (text, "adapter"), answer.headers

    proxy.retract(edit)
    assert CHAT.ask(proxy.url, QUESTION)[0] == old


def _is_in_the_context(proxy: Proxy, note: str) -> None:
    """The edit is applied, and how is said: the model alone must not answer in its place."""
    for _ in range(2):
        text, answer = CHAT.ask(proxy.url, QUESTION)
        assert (answer.route, answer.headers["x-memedit-note"]) == ("in_context", note)
        assert "x-memedit-adapter" not in answer.headers and "Lindhaven" in text
