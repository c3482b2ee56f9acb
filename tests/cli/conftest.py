"""The command line in this process, on a memory of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from memedit.cli.app import app
from memedit.scope.base import Encoder


@dataclass(frozen=True)
class Ran:
    """What one command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The one line on stderr, under --json."""
        [line] = self.err.splitlines()
        return json.loads(line)["error"]


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> Run:
    """Run ``memedit ...`` in an empty folder, whose memory is the default one.

    The real default encoder, but opened once for all commands of all tests.
    """
    monkeypatch.setattr("memedit.scope.encoder.open_encoder", lambda settings: encoder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, env: dict[str, str] | None = None) -> Ran:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def added(run: Run) -> dict[str, Any]:
    """Return one stored edit."""
    arguments = ("The capital of Quendoria is", "Lindhaven", "--subject", "Quendoria", "--json")
    edit: dict[str, Any] = run("add", *arguments).json
    return edit
