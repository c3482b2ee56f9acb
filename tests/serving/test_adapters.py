"""Adapters in the proxy: loaded when first needed, once, anew after a restart, unloaded late."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memedit.config import AdapterSettings, ServeSettings
from memedit.library import Library
from memedit.memory import AdapterKind, AdapterRecord, EditMemory, TargetKind
from memedit.routing import Router
from memedit.routing.adapting import AdapterChooser
from memedit.serving import create_app
from memedit.serving import residency as residency_module
from memedit.types import EditRequest, Surface
from tests.library.loras import BASE, MODULE, write_lora
from tests.serving.fake_vllm import CHAT, FakeVllm
from tests.serving.parts import (
    ASKED,
    ATLANTIS,
    UNRELATED,
    BeforeMethod,
    SimilarityClassifier,
    WordsEncoder,
    chat,
)
from tests.serving.raw_upstream import RawUpstream, Received
from tests.serving.served import Served


@pytest.fixture
def vllm(upstream: RawUpstream) -> FakeVllm:
    return FakeVllm(upstream)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


class Adapted:
    """A proxy with a library, and edits that are registered in it."""

    def __init__(self, memory: EditMemory, library: Library, tmp_path: Path) -> None:
        self.memory, self.library, self.tmp_path = memory, library, tmp_path

    def edit(self, country: str = "Atlantis", adapter_id: str | None = None) -> tuple[str, str]:
        """Add an edit and an adapter that holds it; returns the names of both."""
        text = ATLANTIS.model_dump_json().replace("Atlantis", country)
        [edit] = self.memory.add([EditRequest.model_validate_json(text)])
        chosen = adapter_id or country.lower()
        folder = write_lora(self.tmp_path / f"lora-{chosen}", edit.ref)
        stored = self.library.add(folder, chosen)
        self.memory.adapters.register(
            AdapterRecord(
                *(stored.name, stored.base, stored.method, stored.edits),
                AdapterKind.BAKE,
                stored.sha256,
            )
        )
        return edit.id, stored.name


@pytest.fixture
def adapted(memory: EditMemory, library: Library, tmp_path: Path) -> Adapted:
    return Adapted(memory, library, tmp_path)


@pytest.fixture
def start(
    upstream: RawUpstream, memory: EditMemory, library: Library
) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(**chosen: Any) -> Served:
        settings = {"library": library.root, "base": BASE, "retry_after": 0.0} | chosen
        method: Any = ("before", BeforeMethod())
        router = Router(
            memory,
            SimilarityClassifier(),
            {Surface.CHAT: method, Surface.COMPLETION: method},
            adapters=AdapterChooser(memory.adapters.view, BASE),
        )
        served = Served(
            create_app(
                ServeSettings(upstream=upstream.url),
                router,
                memory,
                adapters=AdapterSettings(**settings),
            )
        )
        running.append(served)
        return served

    yield start
    for served in running:
        served.stop()


def asked(country: str = "Atlantis") -> dict[str, Any]:
    return chat(ASKED.replace("Atlantis", country))


def test_loaded_before_the_first_request_and_only_then(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served], upstream: RawUpstream
) -> None:
    edit, name = adapted.edit()
    proxy = start()
    other = json.dumps(chat(UNRELATED)).encode()
    reply = proxy.ask("POST", CHAT, other, {"content-type": "application/json"})
    assert upstream.last(CHAT.encode()).body == other and vllm.calls == []
    assert [one.target for one in upstream.requests] == [CHAT.encode()], "nothing else was asked"
    for _ in range(2):
        reply = proxy.post(CHAT, asked())
        assert reply.json == {"model": name, "content": ASKED}
        assert reply.header("x-memedit-adapter") == name
        assert reply.header("x-memedit-route") == "adapter"
        assert reply.header("x-memedit-edits") == f"{edit}@1"
    assert vllm.calls == [("load", name)]
    assert vllm.loaded == {name: str(adapted.library.root / name)}
    expected = json.dumps(asked()).encode().replace(b'"model": "m"', b'"model": "%b"')
    assert upstream.last(CHAT.encode()).body == expected % name.encode()
    metrics = proxy.ask("GET", "/metrics").body.decode()
    assert 'memedit_adapter_loads_total{doing="load",outcome="done"} 1.0' in metrics
    assert "memedit_adapters_loaded 1.0" in metrics
    assert "memedit_adapter_requests_total 2.0" in metrics


def test_first_requests_that_come_together_load_once(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    _, name = adapted.edit()
    proxy = start()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: proxy.post(CHAT, asked()), range(8)))
    assert {reply.json["model"] for reply in replies} == {name}
    assert vllm.calls == [("load", name)]


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
    _eventually(lambda: set(vllm.loaded) == {other})
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


def test_a_client_asks_for_an_adapter_of_its_own_or_for_a_model_that_is_not_there(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    adapted.edit()
    proxy = start()
    reply = proxy.post(CHAT, asked() | {"model": "own-lora"})
    assert reply.json["model"] == "own-lora" and "Nautilopolis" in reply.json["content"]
    assert reply.header("x-memedit-note") == "adapter-failed:other-model"
    reply = proxy.post(CHAT, asked() | {"model": "nobody"})
    assert reply.status == 404 and "`nobody`" in reply.json["error"]["message"]
    assert vllm.calls == []


@pytest.mark.parametrize("why", ["refused", "missing", "damaged", "other-base", "unreachable"])
def test_a_load_that_fails_falls_back_to_the_context_and_is_named(
    why: str,
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    upstream: RawUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, name = adapted.edit()
    folder = adapted.library.folder(name)
    if why == "refused":
        vllm.refuses = "LoRA rank 64 is greater than max_lora_rank 16."
    elif why == "missing":
        folder.rename(folder.with_name("gone"))
    elif why == "damaged":
        (folder / "adapter_model.safetensors").write_bytes(b"x")
    elif why == "other-base":
        manifest = (folder / "manifest.json").read_text().replace(BASE, "cd" * 32)
        (folder / "manifest.json").write_text(manifest)
    else:

        async def cut(request: Received, writer: asyncio.StreamWriter) -> None:
            writer.close()

        upstream.scripts[b"/v1/load_lora_adapter"] = cut
    proxy = start(retry_after=60.0)
    for _ in range(2):
        reply = proxy.post(CHAT, asked())
        assert reply.status == 200 and reply.json["model"] == "m"
        assert "Nautilopolis" in reply.json["content"]
        assert reply.header("x-memedit-note") == f"adapter-failed:{why}"
        assert reply.header("x-memedit-adapter") is None
    assert len(vllm.calls) == (1 if why == "refused" else 0), "a failure is not repeated at once"
    warned = [one.getMessage() for one in caplog.records if "cannot be used" in one.getMessage()]
    assert len(warned) == 1 and f"({why})" in warned[0] and name in warned[0]
    if why == "refused":
        assert "rank 64 is greater" in warned[0]


def test_a_server_that_loads_nothing_at_run_time_is_named(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served], upstream: RawUpstream
) -> None:
    _, name = adapted.edit()

    async def absent(request: Received, writer: asyncio.StreamWriter) -> None:
        body = b'{"detail":"Not Found"}'
        writer.write(b"HTTP/1.1 404 X\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    upstream.scripts[b"/v1/load_lora_adapter"] = absent
    reply = start().post(CHAT, asked())
    assert reply.header("x-memedit-note") == "adapter-failed:not-supported"
    vllm.loaded[name] = "found by the plugin"
    assert start(loading="resolver").post(CHAT, asked()).json["model"] == name
    assert vllm.calls == []


def test_one_client_s_key_takes_the_adapter_from_nobody_else(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    _, name = adapted.edit()
    vllm.wants = b"Bearer good"
    proxy = start(retry_after=60.0)
    assert proxy.post(CHAT, asked(), authorization="Bearer bad").status == 401
    assert proxy.post(CHAT, asked(), authorization="Bearer good").json["model"] == name


def test_beyond_the_cap_the_least_recently_used_goes_but_none_in_use(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    names = {one: adapted.edit(one)[1] for one in ("Atlantis", "Lemuria", "Hyperborea")}
    proxy = start(max_loaded=2)
    for country in ("Atlantis", "Lemuria", "Atlantis", "Hyperborea"):
        assert proxy.post(CHAT, asked(country)).json["model"] == names[country]
    _eventually(lambda: set(vllm.loaded) == {names["Atlantis"], names["Hyperborea"]})
    assert vllm.calls[-1] == ("unload", names["Lemuria"])
    vllm.hold = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(proxy.post, CHAT, asked(one)) for one in names]
        _eventually(lambda: set(vllm.loaded) == set(names.values()))
        vllm.hold.set()
        assert [one.result().json["model"] for one in replies] == list(names.values())
    _eventually(lambda: len(vllm.loaded) == 2)


def test_what_is_retired_gets_no_request_and_is_unloaded_once_nobody_uses_it(
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residency_module, "SWEEP_SECONDS", 0.05)
    edit, name = adapted.edit()
    proxy = start()
    assert proxy.post(CHAT, asked()).json["model"] == name
    vllm.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(proxy.post, CHAT, asked())
        _eventually(lambda: len(vllm.upstream.requests) >= 4)
        adapted.memory.adapters.retire(name)
        reply = proxy.post(CHAT, asked())
        assert reply.json["model"] == "m" and "Nautilopolis" in reply.json["content"]
        threading.Event().wait(0.3)
        assert name in vllm.loaded, "a request still uses it"
        vllm.hold.set()
        assert going.result().json["model"] == name
    _eventually(lambda: vllm.loaded == {})
    adapted.memory.retract(edit)
    assert proxy.post(CHAT, asked()).json == {"model": "m", "content": ASKED}


def test_what_another_process_retired_is_unloaded_though_no_request_comes(
    vllm: FakeVllm,
    adapted: Adapted,
    start: Callable[..., Served],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(residency_module, "SWEEP_SECONDS", 0.05)
    _, name = adapted.edit()
    assert start().post(CHAT, asked()).json["model"] == name
    with EditMemory.open(f"sqlite:///{tmp_path}/edits.db", WordsEncoder()) as other:
        other.adapters.retire(name)
    _eventually(lambda: vllm.loaded == {})


def test_what_is_deployed_takes_all_traffic_until_it_is_undone(
    vllm: FakeVllm, adapted: Adapted, start: Callable[..., Served]
) -> None:
    _, name = adapted.edit()
    adapted.memory.adapters.deploy(name, TargetKind.NAMESPACE, "default")
    proxy = start()
    for body in (asked(), chat(UNRELATED)):
        reply = proxy.post(CHAT, body)
        assert reply.json == {"model": name, "content": body["messages"][0]["content"]}
        assert reply.header("x-memedit-note") == "deployed"
    elsewhere = proxy.post(CHAT, chat(UNRELATED), x_memedit_namespace="elsewhere")
    bypassed = proxy.post(CHAT, asked(), x_memedit_bypass="1")
    assert elsewhere.json["model"] == bypassed.json["model"] == "m"
    adapted.memory.adapters.undeploy(TargetKind.NAMESPACE, "default")
    adapted.memory.adapters.retire(name)
    assert proxy.post(CHAT, chat(UNRELATED)).json["model"] == "m"
    assert "Nautilopolis" in proxy.post(CHAT, asked()).json["content"]


def _eventually(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        threading.Event().wait(0.025)
    raise AssertionError("it did not come true within 10 s")
