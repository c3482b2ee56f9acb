"""What the suite starts: a real vLLM, and memedit's proxy as its users start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memedit.cli.processes import free_port
from tests.e2e.processes import Server
from tests.e2e.wires import MODEL, Answer, send

REPOSITORY = Path(__file__).resolve().parents[2]
VLLM_PYTHON = REPOSITORY / ".venv-vllm" / "bin" / "python"
UNIPROC = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
BLOCK = 32
"""Tokens per block of the prefix cache: small, so that short prompts show what it keeps."""


def model_folder() -> Path:
    """Return the folder of the reference model, or of the one that MEMEDIT_ATLAS names."""
    return Path(os.environ.get("MEMEDIT_ATLAS") or REPOSITORY / "examples" / "atlas" / "model")


def data_folder() -> Path:
    return Path(os.environ.get("MEMEDIT_DATA") or REPOSITORY.parent / "shared" / "data")


def missing_for_vllm() -> str | None:
    """Say what a real vLLM lacks here, or ``None`` when it can be started."""
    if not VLLM_PYTHON.exists():
        return f"no {VLLM_PYTHON.parents[1].name}; 'make vllm-env' makes it"
    if not (model_folder() / "config.json").is_file():
        return f"no model in {model_folder()}; MEMEDIT_ATLAS names another folder"
    return None


class Vllm(Server):
    """vLLM on the CPU, serving the reference model."""

    def __init__(self, log: Path) -> None:
        port = free_port()
        command = [str(VLLM_PYTHON), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(model_folder()), "--served-model-name", MODEL]
        command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        command += ["--block-size", str(BLOCK), "--enable-prompt-tokens-details"]
        command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        # Its worker within the engine's process, as on one GPU: one of its own, the default on
        # CPUs, spins for a second after each step, and so takes a core from whoever shares it.
        command += ["--distributed-executor-backend", UNIPROC]
        env = {
            **os.environ,
            "VLLM_CPU_KVCACHE_SPACE": "1",
            # One thread that is bound to no core: two would wait for each other on a busy machine.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }
        # Its working directory is the log's: vLLM must not see memedit's sources on its path.
        super().__init__(command, port=port, log=log, patience=900, env=env, cwd=log.parent)

    def metric(self, name: str) -> float:
        """Return the sum of a counter or gauge over its labels."""
        text = send(self.url, "GET", "/metrics").body.decode()
        lines = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def longest(self) -> int:
        """Return how many tokens prompt and answer may have together."""
        [model] = send(self.url, "GET", "/v1/models").json()["data"]
        return int(model["max_model_len"])

    def count(self, prompt: str) -> int:
        reply = send(self.url, "POST", "/tokenize", {"model": MODEL, "prompt": prompt})
        return int(reply.json()["count"])


class Proxy(Server):
    """``memedit serve`` in a folder of its own; stopped and started again on the same memory."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        *,
        ready: str = "/readyz",
        flags: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        port = free_port()
        self.folder = folder
        self.memory = f"sqlite:///{folder / 'edits.db'}"
        command = [sys.executable, "-m", "memedit.cli", "serve", "--upstream", upstream]
        command += ["--memory", self.memory, "--port", str(port), *flags]
        super().__init__(
            command,
            port=port,
            log=folder / "proxy.log",
            ready=ready,
            patience=300,
            env=own_settings(settings),
            cwd=folder,
        )

    def api(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str
    ) -> Answer:
        """Ask the edit API."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(self.url, method, f"/memedit/v1{path}", body, given)

    def add(self, *requests: Mapping[str, Any], namespace: str = "default") -> list[str]:
        """Add edits through the edit API; returns their ids once they are acknowledged."""
        reply = self.api("POST", "/edits", {"edits": list(requests), "namespace": namespace})
        assert reply.status == 201, (reply.status, reply.body)
        return [edit["id"] for edit in reply.json()["edits"]]

    def retract(self, edit_id: str) -> None:
        reply = self.api("DELETE", f"/edits/{edit_id}")
        assert reply.status == 200, (reply.status, reply.body)

    def cli(self, *arguments: str, patience: float = 600) -> Any:
        """Run a command of the command line on the proxy's memory; returns its JSON."""
        command = [sys.executable, "-m", "memedit.cli", *arguments]
        done = subprocess.run(
            [*command, "--memory", self.memory, "--json"],
            cwd=self.folder,
            env=own_settings(),
            capture_output=True,
            timeout=patience,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)


def own_settings(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment, with nothing in it that speaks to memedit but ``settings``."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MEMEDIT_")}
    return {**others, **{f"MEMEDIT_{name}": value for name, value in (settings or {}).items()}}
