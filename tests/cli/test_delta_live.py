"""memedit delta apply and revert, against the plugin's route as tests/e2e sees it in a vLLM."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.modeling.delta import LowRank, WeightDelta
from tests.cli.conftest import Run

NAME = "model.layers.0.mlp.down_proj.weight"


class Plugged:
    """The route's behaviour: a list that is replaced whole, or refused whole."""

    def __init__(self) -> None:
        self.deltas: list[str] = []
        self.refuses = ""
        plugged = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_PUT(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _answer(self, body: Any) -> None:
                status, said = plugged.answer(self.path, self.headers, body)
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, headers: Any, body: Any) -> tuple[int, Any]:
        if path != "/v1/memedit/weights":
            return 404, {"detail": "Not Found"}
        if headers["memedit-plugin-key"] != "secret":
            return 401, {"error": {"message": "expected the key"}}
        if body is None:
            return 200, {"deltas": self.deltas}
        if self.refuses:
            return 400, {"error": {"message": self.refuses}}
        self.deltas = body["deltas"]
        return 200, {"deltas": self.deltas, "tensors": []}


@pytest.fixture
def vllm() -> Iterator[Plugged]:
    plugged = Plugged()
    yield plugged
    plugged.server.shutdown()
    plugged.server.server_close()


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    change = LowRank(torch.ones(32, 1), torch.ones(1, 48))
    return WeightDelta({NAME: change}, method="rome", base="0" * 64).save(tmp_path / "quendoria")


def test_deltas_are_put_on_top_and_taken_out_of_the_middle(
    run: Run, delta: Path, vllm: Plugged
) -> None:
    key = ("--server", f"{vllm.url}/v1/", "--plugin-key", "secret")
    common = ("delta", "apply", delta, *key, "--library", "lib")
    first = run(*common, "--json")
    assert first.code == 0, first.err
    assert first.json["added"] == "memedit-quendoria-1" and first.json["deltas"] == vllm.deltas
    assert "memedit-other-1 is in the weights" in run(*common, "--name", "other").out
    assert run(*common).code == 0
    assert vllm.deltas == ["memedit-quendoria-1", "memedit-other-1", "memedit-quendoria-2"]
    stored = WeightDelta.load(Path("lib/memedit-quendoria-2"))
    assert torch.equal(stored.dense(NAME), WeightDelta.load(delta).dense(NAME))
    ran = run("delta", "revert", "memedit-other-1", *key)
    assert ran.code == 0 and vllm.deltas == ["memedit-quendoria-1", "memedit-quendoria-2"]
    assert "memedit-quendoria-1, memedit-quendoria-2" in ran.out
    gone = run("delta", "revert", "memedit-other-1", *key, "--json")
    assert gone.code == 1 and "not in force" in gone.error["message"]
    assert "no delta" in run("delta", "revert", "--all", *key).out and vllm.deltas == []


def test_what_is_refused_leaves_nothing_behind(run: Run, delta: Path, vllm: Plugged) -> None:
    common = ("delta", "apply", delta, "--library", "lib", "--server")
    vllm.refuses = "its fingerprint is another one"
    ran = run(*common, vllm.url, "--plugin-key", "secret")
    assert ran.code == 1 and "fingerprint is another one" in ran.err
    assert list(Path("lib").glob("memedit-*")) == [] and vllm.deltas == []
    assert "expected the key" in run(*common, vllm.url).err
    assert "no vLLM with memedit's plugin" in run(*common, f"{vllm.url}/elsewhere").err
    assert "cannot reach vLLM" in run(*common, "http://127.0.0.1:9").err
    assert "no library is named" in run("delta", "apply", delta, "--server", vllm.url).err
    both = run("delta", "revert", "memedit-x-1", "--all", "--server", vllm.url)
    assert both.code == 2 and "or give --all" in both.err
