from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from memedit.adapters.vllm_plugin.library import AdapterLibrary
from memedit.adapters.vllm_plugin.resolver import LibraryResolver, StandingRequests
from memedit.adapters.vllm_plugin.settings import GraceSettings, Served
from tests.adapters.vllm_plugin.conftest import (
    LoRARequest,
    VLLMNotFoundError,
    VLLMValidationError,
)
from tests.adapters.vllm_plugin.folders import write_grace, write_lora


@pytest.fixture
def resolver(vllm: Any, tmp_path: Path) -> LibraryResolver:
    return LibraryResolver(AdapterLibrary(tmp_path))


def resolved(resolver: LibraryResolver, name: str, model: str = "some/model") -> Any:
    return asyncio.run(resolver.resolve_lora(model, name))


def test_a_name_becomes_a_request_for_its_folder(resolver: LibraryResolver, tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "memedit-a-1")
    request = resolved(resolver, "memedit-a-1")
    assert (request.lora_name, request.lora_path) == ("memedit-a-1", str(folder.resolve()))


def test_names_of_others_are_left_to_others(resolver: LibraryResolver) -> None:
    for name in ("sql-lora", "../memedit-a-1", "", "memedita"):
        assert resolved(resolver, name) is None


def test_what_is_not_there_is_404_and_what_cannot_be_served_400(
    resolver: LibraryResolver, tmp_path: Path
) -> None:
    with pytest.raises(VLLMNotFoundError, match="has no 'memedit-a-1'"):
        resolved(resolver, "memedit-a-1")
    with pytest.raises(VLLMValidationError, match="is no name"):
        resolved(resolver, "memedit-../a-1")
    write_lora(tmp_path / "memedit-b-1", config={"use_dora": True})
    with pytest.raises(VLLMValidationError, match="'memedit-b-1' cannot be served: use_dora"):
        resolved(resolver, "memedit-b-1")


def test_with_the_servers_settings_it_knows_more(
    resolver: LibraryResolver, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    write_lora(tmp_path / "memedit-a-1", rank=9)
    write_grace(tmp_path / "memedit-b-1")
    assert resolved(resolver, "memedit-a-1") and resolved(resolver, "memedit-b-1")
    resolver.served = Served(GraceSettings(), 8)
    with pytest.raises(VLLMValidationError, match="rank is 9"):
        resolved(resolver, "memedit-a-1")
    with pytest.raises(VLLMValidationError, match="start vLLM with --additional-config"):
        resolved(resolver, "memedit-b-1")
    with pytest.raises(VLLMValidationError, match="fingerprint"):
        resolved(resolver, "memedit-b-1", str(tiny_checkpoint))


def test_a_version_never_changes(resolver: LibraryResolver, tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "memedit-a-1")
    assert resolved(resolver, "memedit-a-1") and resolved(resolver, "memedit-a-1")
    shutil.rmtree(folder)
    write_lora(folder, rank=3)
    with pytest.raises(VLLMValidationError, match="write another one"):
        resolved(resolver, "memedit-a-1")


def test_names_go_with_their_folders(tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    requests = StandingRequests(
        {
            "memedit-a-1": LoRARequest("memedit-a-1", 1, str(there)),
            "memedit-b-1": LoRARequest("memedit-b-1", 2, str(gone)),
            "theirs": LoRARequest("theirs", 3, str(gone)),
            "memedit-hub-1": LoRARequest("memedit-hub-1", 4, "org/adapter"),
        }
    )
    found = [name for name in list(requests) if name in requests]
    assert found == ["memedit-a-1", "theirs", "memedit-hub-1"] == list(requests)
    assert "nothing" not in requests
