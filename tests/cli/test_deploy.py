"""What memedit deploy says of a target that nobody seems to use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.library.loras import write_lora


@pytest.fixture
def registered(run: Run, added: dict[str, Any], tmp_path: Path) -> str:
    folder = write_lora(tmp_path / "lora", f"{added['id']}@1")
    ran = run("adapters", "add", folder, "--name", "capitals", "--library", "lib", "--json")
    return str(ran.json["name"])


@pytest.fixture
def upstream() -> Iterator[str]:
    """Serve a list of one model."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": "atlas"}]}).encode()
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_namespace_without_edits_is_done_and_said(run: Run, registered: str) -> None:
    ran = run("deploy", registered, "-n", "defalut", "--json")
    assert ran.code == 0 and ran.json["namespace"] == "defalut"
    assert "no edit is live in the namespace 'defalut'" in ran.err
    assert "namespaces with live edits: default" in ran.err
    assert run("deploy", registered, "-n", "default").err == ""


def test_a_model_that_the_upstream_does_not_list_is_said(
    run: Run, registered: str, upstream: str
) -> None:
    env = {"MEMEDIT_SERVE__UPSTREAM": upstream}
    ran = run("deploy", registered, "--model", "atlsa", env=env)
    assert ran.code == 0 and "lists no model 'atlsa'; it has atlas" in ran.err
    assert run("deploy", registered, "--model", "atlas", env=env).err == ""
    nowhere = {"MEMEDIT_SERVE__UPSTREAM": "http://127.0.0.1:9"}
    assert run("deploy", registered, "--model", "atlsa", env=nowhere).err == ""
