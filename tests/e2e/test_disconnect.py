"""A client that leaves: vLLM stops generating for it."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from tests.e2e.facts import CAPITAL, CAPITAL_CLOZE, CAPITAL_QUESTION, UNRELATED
from tests.e2e.stack import Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, Wire

CHOICES = 16
RUNNING = "vllm:num_requests_running"
GENERATED = "vllm:generation_tokens_total"


@pytest.mark.parametrize("touched", [False, True], ids=["untouched", "touched"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("wire", [CHAT, COMPLETIONS], ids=lambda wire: wire.name)
def test_the_upstream_request_is_aborted(
    wire: Wire, stream: bool, touched: bool, vllm: Vllm, proxy: Proxy, namespace: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    concerned = CAPITAL_QUESTION if wire is CHAT else CAPITAL_CLOZE
    tokens = vllm.longest() - 100
    # ``min_tokens`` leaves no doubt about how much would be generated for a client that stays.
    endless = {"n": CHOICES, "temperature": 1, "ignore_eos": True, "min_tokens": tokens}
    body = wire.body(concerned if touched else UNRELATED[0], tokens=tokens, stream=stream)
    _until(lambda: vllm.metric(RUNNING) == 0)
    before = vllm.metric(GENERATED)
    leave = _send(proxy, wire, body | endless, namespace)
    if stream:
        head = leave.recv(4096)
        assert b" 200 " in head
        assert (b"in_context" in head) == touched
        while b"data:" not in head:
            head += leave.recv(4096)
    else:
        _until(lambda: vllm.metric(RUNNING) > 0)
    leave.close()
    _until(lambda: vllm.metric(RUNNING) == 0)
    generated = vllm.metric(GENERATED) - before
    time.sleep(0.5)
    assert vllm.metric(GENERATED) - before == generated
    assert generated < CHOICES * tokens * 0.8
    assert vllm.metric(RUNNING) == 0


def _send(proxy: Proxy, wire: Wire, body: dict[str, Any], namespace: str) -> socket.socket:
    data = json.dumps(body).encode()
    head = (
        f"POST {wire.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"x-memedit-namespace: {namespace}\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=300)
    client.sendall(head.encode() + data)
    return client


def _until(met: Any, patience: float = 180.0) -> None:
    deadline = time.monotonic() + patience
    while not met():
        assert time.monotonic() < deadline, f"not within {patience} s"
        time.sleep(0.02)
