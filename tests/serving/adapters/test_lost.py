"""Adapters that vLLM has forgotten, that vanished, or that were harmed after they were loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memedit.library import Library
from tests.library.loras import MODULE, write_lora
from tests.serving.adapters.adapted import Adapted, asked, eventually
from tests.serving.fake_vllm import CHAT, FakeVllm
from tests.serving.parts import (
    ASKED,
)
from tests.serving.raw_upstream import RawUpstream
from tests.serving.served import Served


def test_a_restart_is_answered_by_one_load_and_one_more_try(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    _, name = adapted.edit()
    proxy = start()
    assert proxy.post(CHAT, asked()).json["model"] == name
    vllm.loaded.clear()
    assert proxy.post(CHAT, asked()).json["model"] == name
    assert vllm.calls == [("load", name)] * 2
    vllm.forgetful = True  # it takes the adapter, and never knows it
    vllm.calls.clear()
    reply = proxy.post(CHAT, asked())
    assert reply.status == 200 and reply.json["model"] == "m"
    assert "Nautilopolis" in reply.json["content"]
    assert reply.header("x-memedit-route") == "in_context"
    assert reply.header("x-memedit-note") == "adapter-failed:forgotten"
    assert vllm.calls == [("load", name)]


def _warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    caplog.clear()
    return found


def test_a_restart_and_an_adapter_that_vanished_are_told_apart(
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, name = adapted.edit()
    _, other = adapted.edit("Lemuria")
    proxy = start()
    for country in ("Atlantis", "Lemuria"):
        proxy.post(CHAT, asked(country))
    vllm.calls.clear()
    del vllm.loaded[name]
    assert proxy.post(CHAT, asked()).json["model"] == name
    assert vllm.calls == [("load", name)], "the other one is still there"
    [warned] = _warned(caplog)
    assert "it was unloaded there" in warned and "restarted" not in warned
    vllm.loaded.clear()
    assert proxy.post(CHAT, asked()).json["model"] == name
    [warned] = _warned(caplog)
    assert "forgotten all adapters: it was restarted" in warned
    assert proxy.post(CHAT, asked("Lemuria")).json["model"] == other

    async def gone(body: dict[str, Any]) -> tuple[int, Any]:
        """As with the plugin, whose library somebody empties while the request is on its way."""
        if body["model"] == "m":
            return 200, {"model": "m", "content": body["messages"][-1]["content"]}
        shutil.rmtree(adapted.library.folder(name))
        return 404, {"error": {"message": f"the adapter library has no '{name}'"}}

    vllm.upstream.scripts[CHAT.encode()] = vllm.guarded(gone)
    reply = proxy.post(CHAT, asked())
    assert reply.json["model"] == "m"
    assert reply.header("x-memedit-note") == "adapter-failed:missing"
    first, second = _warned(caplog)
    assert "its folder is gone" in first and "cannot be used (missing)" in second
    assert "restarted" not in first + second


def test_what_another_request_had_loaded_meanwhile_is_not_forgotten_again(
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, name = adapted.edit()
    proxy = start()
    proxy.post(CHAT, asked())
    late = [(404, {"error": {"message": f"The model `{name}` does not exist."}})]

    async def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return late.pop() if late else await vllm.answer(body)

    vllm.upstream.scripts[CHAT.encode()] = vllm.guarded(answer)
    assert proxy.post(CHAT, asked()).json["model"] == name
    assert vllm.calls == [("load", name)] and _warned(caplog) == []


def test_an_adapter_that_the_servers_library_lacks_is_no_restart(
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapted.edit()
    reply = start(loading="resolver").post(CHAT, asked())
    assert reply.header("x-memedit-note") == "adapter-failed:forgotten"
    warned = _warned(caplog)
    assert all("MEMEDIT_ADAPTER_LIBRARY must name that very folder" in one for one in warned)


def test_what_the_server_refuses_goes_into_the_context_at_once(
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    caplog: pytest.LogCaptureFixture,
    upstream: RawUpstream,
) -> None:
    _, name = adapted.edit()
    proxy = start(retry_after=60.0)
    assert proxy.post(CHAT, asked()).json["model"] == name
    vllm.rejects = "its files were changed since this server first served it"
    for _ in range(2):
        reply = proxy.post(CHAT, asked())
        assert reply.status == 200 and reply.json["model"] == "m"
        assert "Nautilopolis" in reply.json["content"]
        assert reply.header("x-memedit-note") == "adapter-failed:refused"
        assert reply.header("x-memedit-adapter") is None
    sent = [one for one in upstream.requests if one.target == CHAT.encode()]
    assert len(sent) == 4, "refused once, and not asked again at once"
    [warned] = _warned(caplog)
    assert "its files were changed" in warned

    async def misused(body: dict[str, Any]) -> tuple[int, Any]:
        return 400, {"error": {"message": f"max_tokens is 0 (model {body['model']})"}}

    vllm.upstream.scripts[CHAT.encode()] = vllm.guarded(misused)
    reply = start().post(CHAT, asked())
    assert reply.status == 400 and "max_tokens" in reply.json["error"]["message"]


@pytest.mark.parametrize("harm", ["cut", "overwritten", "replaced", "deleted"])
def test_what_was_harmed_after_it_was_loaded_gets_no_request_and_is_unloaded(
    harm: str,
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    tmp_path: Path,
) -> None:
    _, name = adapted.edit()
    _, other = adapted.edit("Lemuria")
    proxy = start()
    for country in ("Atlantis", "Lemuria"):
        proxy.post(CHAT, asked(country))
    folder = adapted.library.folder(name)
    kept, tensors = tmp_path / "kept", folder / "adapter_model.safetensors"
    shutil.copytree(folder, kept)
    if harm == "cut":
        tensors.write_bytes(tensors.read_bytes()[:-1])
    elif harm == "overwritten":
        there = tensors.stat()
        tensors.write_bytes(b"x" * there.st_size)
        os.utime(tensors, ns=(there.st_atime_ns, there.st_mtime_ns))
    else:
        shutil.rmtree(folder)
    if harm == "replaced":
        factors = {f"{MODULE}.lora_{one}.weight": np.ones((1, 1), np.float32) for one in "AB"}
        [edit] = adapted.library.read(other).edits
        second = write_lora(tmp_path / "second", edit, tensors=factors)
        Library(tmp_path / "elsewhere").add(second, "atlantis").folder.rename(folder)
    reply = proxy.post(CHAT, asked())
    assert reply.json["model"] == "m" and "Nautilopolis" in reply.json["content"]
    why = "missing" if harm == "deleted" else "damaged"
    assert reply.header("x-memedit-note") == f"adapter-failed:{why}"
    eventually(lambda: set(vllm.loaded) == {other})
    question = {"prompts": [ASKED]}
    [told] = proxy.post("/memedit/v1/route", question).json["routes"]
    assert (told["action"], told["adapter"]) == ("in_context", None)
    assert told["note"] == f"adapter-failed:{why}", "as the proxy does"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept, folder)
    assert proxy.post(CHAT, asked()).json["model"] == name
    [told] = proxy.post("/memedit/v1/route", question).json["routes"]
    assert (told["action"], told["adapter"]) == ("adapter", name)


def test_what_was_only_touched_stays_loaded(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    _, name = adapted.edit()
    proxy = start()
    proxy.post(CHAT, asked())
    (adapted.library.folder(name) / "manifest.json").touch()
    assert proxy.post(CHAT, asked()).json["model"] == name
    assert vllm.calls == [("load", name)]
