from __future__ import annotations

import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from memedit.errors import MemoryFailure
from memedit.memory import EditMemory
from memedit.serving.logs import JsonLines
from memedit.serving.metrics import MOST_NAMESPACES, Metrics
from tests.serving.parts import ASKED, ATLANTIS, chat
from tests.serving.raw_upstream import RawUpstream, whole
from tests.serving.served import Serve, Served


def test_alive_is_not_ready(serve: Serve, upstream: RawUpstream, memory: EditMemory) -> None:
    proxy = serve()
    ready = proxy.ask("GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ready")
    assert upstream.last().target == b"/health"

    upstream.scripts[b"/health"] = whole(b"", b"503 Service Unavailable")
    answer = proxy.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.json["checks"]["memory"] == {"ok": True}
    assert answer.json["checks"]["upstream"] == {"ok": False, "reason": "/health answers 503"}

    upstream.scripts[b"/health"] = whole(b"", b"404 Not Found")  # a server that knows no /health
    assert proxy.ask("GET", "/readyz").status == 200

    memory.close()
    answer = proxy.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.json["checks"]["memory"] == {"ok": False, "reason": "memory_unavailable"}

    upstream.stop()
    answer = proxy.ask("GET", "/readyz")
    assert answer.status == 503
    assert answer.json["checks"]["upstream"]["reason"].startswith("upstream_unreachable")
    assert proxy.ask("GET", "/healthz").json == {"status": "ok"}
    assert proxy.ask("HEAD", "/healthz").body == b""


def test_metrics_are_ours_and_the_upstreams_together(
    proxy: Served, upstream: RawUpstream, memory: EditMemory
) -> None:
    upstream.scripts[b"/metrics"] = whole(
        b"# HELP vllm:x X.\n# TYPE vllm:x gauge\nvllm:x 3.0\n",
        headers=[b"content-type: text/plain"],
    )
    memory.add([ATLANTIS], namespace="tenant-a")
    proxy.post("/v1/chat/completions", chat("hello"))
    proxy.post("/v1/embeddings", {})
    proxy.post("/pause", {})
    assert proxy.ask("GET", "/memedit/v1/edits").status == 200
    answer = proxy.ask("GET", "/metrics")
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.body.decode()))
    assert len({family.name for family in families}) == len(families)
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["vllm:x",] == 3.0
    assert samples["memedit_edits_live", "tenant-a"] == 1.0
    assert samples["memedit_requests_total", "200", "chat", "no_edits", "pass"] == 1.0
    assert samples["memedit_forwarded_total", "200"] == 1.0
    assert samples["memedit_edit_api_total", "200"] == 1.0
    assert samples["memedit_refused_total", "not_forwarded"] == 1.0
    assert samples["memedit_decision_seconds_count",] == 1.0


def test_metrics_stay_when_the_upstream_has_none(proxy: Served, upstream: RawUpstream) -> None:
    upstream.scripts[b"/metrics"] = whole(b"secret", b"404 Not Found")
    page = proxy.ask("GET", "/metrics").body
    assert b"memedit_build_info" in page
    assert page.endswith(b"# the upstream's /metrics answered 404\n")
    upstream.stop()
    page = proxy.ask("GET", "/metrics").body
    assert page.endswith(b"# the upstream's /metrics did not answer: upstream_unreachable\n")


def test_many_namespaces_are_added_up() -> None:
    metrics = Metrics(lambda: {f"tenant-{n}": n + 1 for n in range(MOST_NAMESPACES + 3)})
    page = metrics.exposition().decode()
    assert 'memedit_edits_live{namespace="_others"} 6.0' in page
    assert page.count("memedit_edits_live{") == MOST_NAMESPACES + 1


def test_a_memory_that_fails_is_a_missing_number() -> None:
    def fail() -> dict[str, int]:
        raise MemoryFailure("disk")

    assert b"memedit_edits_live{" not in Metrics(fail).exposition()


def test_the_log_has_one_line_a_request_and_nothing_that_was_said(
    serve: Serve, upstream: RawUpstream, memory: EditMemory, caplog: pytest.LogCaptureFixture
) -> None:
    (edit,) = memory.add([ATLANTIS])
    upstream.default = whole(b"the answer is private")
    proxy = serve(inference_keys=("key-of-a-client",))
    with caplog.at_level(logging.INFO, logger="memedit"):
        proxy.ask(
            "POST",
            "/v1/chat/completions?private=1",
            json.dumps(chat(ASKED)).encode(),
            {"authorization": "Bearer key-of-a-client", "x-request-id": "r-1"},
        )
        proxy.stop()
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    (line,) = [line for line in lines if line["logger"] == "memedit.serving.request"]
    assert {
        name: line[name] for name in ("method", "path", "status", "route", "edits", "wire")
    } == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "route": "in_context",
        "edits": edit.ref,
        "wire": "chat",
    }
    assert line["request_id"] == "r-1"
    assert line["ms"] >= line["decision_ms"] > 0
    assert line["bytes_out"] == len(b"the answer is private")
    assert not any(word in str(lines) for word in ("Atlantis", "private", "key-of"))
