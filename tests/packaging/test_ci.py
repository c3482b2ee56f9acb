"""`.ci/run` itself, with a `make` that does nothing: its exit code is what decides what lands."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = ("env", "lint", "demo", "vllm-env", "test", "types")


def _run(folder: Path, fails: str) -> subprocess.CompletedProcess[str]:
    (folder / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", folder / ".ci" / "run")
    make = folder / "bin" / "make"
    make.parent.mkdir()
    make.write_text(
        '#!/bin/sh\n[ "$1" != test ] || echo "===== 3 passed in 1s ====="\n'
        f'[ "$1" != "{fails}" ] || exit 3\n'
    )
    make.chmod(0o755)
    path = f"{make.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [folder / ".ci" / "run"],
        env={**os.environ, "PATH": path, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_nothing_that_fails_is_success(tmp_path: Path) -> None:
    ran = _run(tmp_path, fails="")
    assert ran.returncode == 0, ran.stderr
    assert all(f"\n== {name}: " in f"\n{ran.stdout}" for name in STAGES)
    assert ran.stdout.rstrip().endswith("= 3 passed in 1s =====")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp.")] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_fails_is_failure(tmp_path: Path, stage: str) -> None:
    ran = _run(tmp_path, fails=stage)
    assert ran.returncode != 0
    assert f"CI FAILED in stage {stage} " in ran.stderr
