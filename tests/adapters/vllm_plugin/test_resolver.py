from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

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
    kept = shutil.copytree(folder, tmp_path / "kept")
    shutil.rmtree(folder)
    write_lora(folder, rank=3)
    with pytest.raises(VLLMValidationError, match="another content is another version"):
        resolved(resolver, "memedit-a-1")
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    assert resolved(resolver, "memedit-a-1"), "what was put back is what it was"


@pytest.fixture
def requests(resolver: LibraryResolver, tmp_path: Path) -> StandingRequests:
    """Return what vLLM has loaded: one that the resolver found, one by vLLM's own call."""
    found = StandingRequests({}, resolver)
    for name in ("memedit-a-1", "memedit-b-1"):
        write_lora(tmp_path / name)
    found["memedit-a-1"] = resolved(resolver, "memedit-a-1")
    found["memedit-b-1"] = LoRARequest("memedit-b-1", 2, str(tmp_path / "memedit-b-1"))
    return found


def _cut(tensors: Path) -> None:
    tensors.write_bytes(tensors.read_bytes()[:-9])


def _overwrite(tensors: Path) -> None:
    """As long as it was, and as old."""
    there = tensors.stat()
    tensors.write_bytes(b"x" * there.st_size)
    os.utime(tensors, ns=(there.st_atime_ns, there.st_mtime_ns))


def _put_another(tensors: Path) -> None:
    shutil.rmtree(tensors.parent)
    write_lora(tensors.parent, a=torch.full((2, 48), 3.0))


@pytest.mark.parametrize("name", ["memedit-a-1", "memedit-b-1"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_cut, "no whole safetensors file"),
        (_overwrite, "no whole safetensors file"),
        (_put_another, "another content is another version"),
        (Path.unlink, "is not there"),
    ],
)
def test_what_was_harmed_is_asked_for_anew_and_refused(
    requests: StandingRequests,
    resolver: LibraryResolver,
    tmp_path: Path,
    name: str,
    harm: Any,
    said: str,
) -> None:
    assert name in requests and name in requests
    harm(tmp_path / name / "adapter_model.safetensors")
    assert name not in requests and name not in dict(requests)
    with pytest.raises(VLLMValidationError, match=said):
        resolved(resolver, name)


@pytest.mark.parametrize("name", ["memedit-a-1", "memedit-b-1"])
def test_what_was_touched_alone_or_put_back_is_served_again(
    requests: StandingRequests, resolver: LibraryResolver, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    (folder / "adapter_config.json").touch()
    assert name not in requests
    requests[name] = resolved(resolver, name)
    assert name in requests
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    assert name not in requests
    (tmp_path / "copy").rename(folder)
    requests[name] = resolved(resolver, name)
    assert name in requests


def test_what_vllm_has_and_cannot_be_read_does_not_break_its_call(
    resolver: LibraryResolver, tmp_path: Path
) -> None:
    requests = StandingRequests({}, resolver)
    (tmp_path / "memedit-a-1" / "adapter_config.json").mkdir(parents=True)
    requests["memedit-a-1"] = LoRARequest("memedit-a-1", 1, str(tmp_path / "memedit-a-1"))
    assert "memedit-a-1" in requests


def test_what_changes_while_vllm_loads_it_is_noticed(
    resolver: LibraryResolver, tmp_path: Path
) -> None:
    requests = StandingRequests({}, resolver)
    folder = write_lora(tmp_path / "memedit-a-1")
    found = resolved(resolver, "memedit-a-1")
    _cut(folder / "adapter_model.safetensors")
    requests["memedit-a-1"] = found
    assert "memedit-a-1" not in requests


def test_names_go_with_their_folders(resolver: LibraryResolver, tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    requests = StandingRequests(
        {
            "memedit-a-1": LoRARequest("memedit-a-1", 1, str(there)),
            "memedit-b-1": LoRARequest("memedit-b-1", 2, str(gone)),
            "theirs": LoRARequest("theirs", 3, str(gone)),
            "memedit-hub-1": LoRARequest("memedit-hub-1", 4, "org/adapter"),
        },
        resolver,
    )
    found = [name for name in list(requests) if name in requests]
    assert found == ["memedit-a-1", "theirs", "memedit-hub-1"] == list(requests)
    assert "nothing" not in requests
