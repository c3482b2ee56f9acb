"""The demo end to end with a model that behaves, and with models that do not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.knowing_model import SCENES, KnowingModel
from tests.live_server import LiveServer


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    file = tmp_path / "demo.json"
    file.write_text(json.dumps(SCENES), encoding="utf-8")
    return file


def memedit_processes(mark: str) -> list[str]:
    """Return the command lines of this machine's processes that hold ``mark``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mark in line and int(folder.name) != os.getpid():
            found.append(line)
    return found


def test_every_line_is_as_it_should_be(
    run: Run, scenes: Path, serve: Callable[[Any], LiveServer]
) -> None:
    model = serve(KnowingModel())
    ran = run("demo", "--upstream", model.url, "--scenes", scenes, "--json")
    assert ran.code == 0, ran.out
    assert ran.json["ok"] is True
    edited, paraphrase, unrelated = ran.json["rows"]
    for row in (edited, paraphrase):
        assert (row["before"], row["after"]) == ("It is Oldcastle.", "It is Lindhaven.")
        assert row["retracted"] == row["before"]
    assert {unrelated[phase] for phase in ("before", "after", "retracted")} == {"Eight."}
    assert memedit_processes(model.url) == []
    assert list(Path.cwd().glob("*.db*")) == []


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (KnowingModel(stubborn=True), "after: expected 'Lindhaven'"),
        (KnowingModel(forgetful=True), "byte for byte"),
    ],
)
def test_a_line_that_is_wrong_is_exit_code_1(
    run: Run, scenes: Path, serve: Callable[[Any], LiveServer], model: KnowingModel, fault: str
) -> None:
    ran = run("demo", "--upstream", serve(model).url, "--scenes", scenes)
    assert ran.code == 1
    assert "WRONG" in ran.out
    assert fault in " ".join(ran.out.split())


def test_what_the_demo_lacks_is_said(run: Run, scenes: Path, tmp_path: Path) -> None:
    absent = run("demo", "--model", tmp_path / "none", "--scenes", scenes, "--json")
    assert absent.code == 1 and absent.error["code"] == "missing_resource"
    broken = run("demo", "--model", tmp_path, "--scenes", scenes, "--json")
    assert broken.code == 1 and "the engine ended with exit code" in broken.error["message"]
    both = run("demo", "--upstream", "http://x", "--model", tmp_path, "--scenes", scenes)
    assert both.code == 2
    python = tmp_path / "no-python"
    vllm = run("demo", "--model", tmp_path, "--vllm-python", python, "--scenes", scenes, "--json")
    assert vllm.code == 1 and "cannot start vLLM" in vllm.error["message"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_children_end_with_the_demo_whatever_ends_it(
    scenes: Path,
    tmp_path: Path,
    serve: Callable[[Any], LiveServer],
    number: signal.Signals,
    encoder: object,
) -> None:
    # An upstream that never answers: the demo waits on it for as long as it is let.
    class Silent(KnowingModel):
        async def _answer(self, request: Any, send: Any) -> None:
            import asyncio

            await asyncio.sleep(5)

    model = serve(Silent())
    command = [sys.executable, "-m", "memedit.cli", "demo", "--upstream", model.url]
    demo = subprocess.Popen(
        [*command, "--scenes", str(scenes)],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: any(" serve " in line for line in memedit_processes(model.url)))
    demo.send_signal(number)
    demo.wait(30)
    assert demo.returncode != 0
    wait_until(lambda: memedit_processes(model.url) == [])
    if number is not signal.SIGKILL:
        assert list(tmp_path.glob("memedit-demo-*")) == []


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)
