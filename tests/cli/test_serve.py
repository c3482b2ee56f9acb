"""serve and engine as processes: a model of one's own behind the proxy, signals, taken ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

import memedit
from memedit.cli.processes import Server, free_port
from memedit.errors import (
    MissingResourceError,
    SettingsError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from memedit.serving.server import listen
from tests.cli.conftest import Run
from tests.client.conftest import ASKED, CAPITAL

GRACE = 60.0
"""Seconds for a proxy that has an engine to end: it waits for that one first."""
MEMEDIT = [sys.executable, "-m", "memedit.cli"]


@pytest.fixture
def stack(tiny_checkpoint: Path, tmp_path: Path, encoder: object) -> Iterator[str]:
    """Run the proxy with the embedded engine behind it; return the proxy's URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*MEMEDIT, "serve", "--model", str(tiny_checkpoint), "--served-model-name", "tiny"]
    command += ["--port", str(port), "--memory", "sqlite:///edits.db"]
    log = tmp_path / "serve.log"
    with Server(
        "the proxy", command, f"{url}/readyz", log=log, cwd=tmp_path, grace=GRACE
    ) as server:
        server.wait_healthy(120)
        yield url


def test_a_model_of_ones_own_is_served_with_edits(stack: str) -> None:
    with memedit.Client(stack) as client, httpx2.Client(base_url=stack, timeout=300) as http:
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": ASKED}],
            "max_tokens": 8,
            "temperature": 0,
        }
        before = http.post("/v1/chat/completions", json=body)
        assert before.headers["x-memedit-reason"] == "no_edits"
        [edit] = client.add([CAPITAL])
        edited = http.post("/v1/chat/completions", json=body)
        assert edited.headers["x-memedit-edits"] == edit.ref
        assert edited.json()["usage"]["prompt_tokens"] > before.json()["usage"]["prompt_tokens"]
        client.retract(edit.id)
        after = http.post("/v1/chat/completions", json=body)
        assert after.json()["choices"] == before.json()["choices"]
        assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["tiny"]


def test_sigterm_ends_the_proxy_and_its_engine(
    tiny_checkpoint: Path, tmp_path: Path, encoder: object
) -> None:
    port, engines = free_port(), free_port()
    command = [*MEMEDIT, "serve", "--model", str(tiny_checkpoint), "--port", str(port), "--json"]
    command += ["--library", "nowhere", "--base", "ab" * 32]
    with Server(
        "the proxy",
        command,
        f"http://127.0.0.1:{port}/readyz",
        log=tmp_path / "log",
        cwd=tmp_path,
        env=os.environ | {"MEMEDIT_ENGINE__PORT": str(engines)},
        grace=GRACE,
    ) as server:
        server.wait_healthy(120)
        lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
        assert any("there is no folder nowhere (adapters.library) yet" in line for line in lines)
        ready = next(json.loads(line) for line in lines if '"upstream"' in line)
        assert ready["url"] == f"http://127.0.0.1:{port}"
        assert ready["upstream"] == f"http://127.0.0.1:{engines}"
        assert httpx2.get(f"{ready['upstream']}/health").status_code == 200
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{ready['upstream']}/health")
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{ready['url']}/healthz")


def test_what_cannot_be_served_is_one_line(run: Run, tmp_path: Path) -> None:
    absent = run("serve", "--model", tmp_path / "none", "--json")
    assert absent.code == 1 and absent.error["code"] == "missing_resource"
    both = run("serve", "--model", tmp_path, "--upstream", "http://x")
    assert both.code == 2
    nameless = run("engine", "--port", 0, "--json")
    assert nameless.code == 2 and "--model" in nameless.error["message"]
    odd = run("serve", "--on-memory-failure", "ajar", "--json")
    assert odd.code == 2 and "serve.on_memory_failure" in odd.error["message"]


def test_a_taken_port_is_said(tmp_path: Path, encoder: object) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [*MEMEDIT, "serve", "--port", str(port), "--memory", "sqlite://"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert ran.returncode == 2
    assert str(port) in ran.stderr.splitlines()[-1] and "another serve.port" in ran.stderr
    assert "in front of" not in ran.stderr  # nothing is announced that is not there


def test_the_engine_says_a_taken_port_before_it_loads(tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*MEMEDIT, "engine", "--model", str(tmp_path), "--port", str(port), "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 2 and ran.stdout == ""
    assert "another engine.port" in json.loads(ran.stderr)["error"]["message"]


def test_an_engines_port_is_held_from_the_choice_to_the_end(tmp_path: Path) -> None:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    code = "import http.server, socket, sys; from http.server import SimpleHTTPRequestHandler as H;"
    code += "s = http.server.HTTPServer(('', 0), H, False); s.socket.close();"
    code += "s.socket = socket.socket(fileno=int(sys.argv[1])); s.serve_forever()"
    command = [sys.executable, "-c", code, str(listener.fileno())]
    with Server(
        "it", command, f"http://127.0.0.1:{port}/", cwd=tmp_path, listener=listener
    ) as server:
        assert listener.fileno() == -1, "only the server itself holds it now"
        with pytest.raises(SettingsError, match="in use"):  # before it answers, too
            listen("127.0.0.1", port)
        server.wait_healthy(60)
    listen("127.0.0.1", port).close()


def test_a_server_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('it broke'); raise SystemExit(3)"]
    nowhere = f"http://127.0.0.1:{free_port()}/"
    with (
        Server("the thing", command, nowhere, log=tmp_path / "log") as server,
        pytest.raises(UpstreamUnreachable, match=r"exit code 3.*it broke"),
    ):
        server.wait_healthy(30)


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)"
    nowhere = f"http://127.0.0.1:{free_port()}/"
    with (
        Server("the thing", [sys.executable, "-c", code], nowhere, log=tmp_path / "log") as server,
        pytest.raises(UpstreamTimeout, match="within 1 s"),
    ):
        process = server._process
        server.wait_healthy(1)
    assert process is not None and process.poll() == -signal.SIGTERM


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    server = Server("the thing", [str(tmp_path / "none")], "http://127.0.0.1:9/")
    with pytest.raises(MissingResourceError, match="cannot start the thing"), server:
        pass
