"""Adapters in the proxy: loaded when first needed, once, and unloaded late."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memedit.memory import EditMemory, TargetKind
from memedit.serving import residency as residency_module
from tests.library.loras import BASE
from tests.serving.adapters.adapted import Adapted, asked, eventually
from tests.serving.fake_vllm import CHAT, FakeVllm
from tests.serving.parts import (
    ASKED,
    UNRELATED,
    WordsEncoder,
    chat,
)
from tests.serving.raw_upstream import RawUpstream, Received
from tests.serving.served import Served


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
    eventually(lambda: set(vllm.loaded) == {names["Atlantis"], names["Hyperborea"]})
    assert vllm.calls[-1] == ("unload", names["Lemuria"])
    vllm.hold = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(proxy.post, CHAT, asked(one)) for one in names]
        eventually(lambda: set(vllm.loaded) == set(names.values()))
        vllm.hold.set()
        assert [one.result().json["model"] for one in replies] == list(names.values())
    eventually(lambda: len(vllm.loaded) == 2)


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
        eventually(lambda: len(vllm.upstream.requests) >= 4)
        adapted.memory.adapters.retire(name)
        reply = proxy.post(CHAT, asked())
        assert reply.json["model"] == "m" and "Nautilopolis" in reply.json["content"]
        threading.Event().wait(0.3)
        assert name in vllm.loaded, "a request still uses it"
        vllm.hold.set()
        assert going.result().json["model"] == name
    eventually(lambda: vllm.loaded == {})
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
    eventually(lambda: vllm.loaded == {})


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
