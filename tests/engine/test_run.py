from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from memedit.config import EngineSettings
from memedit.engine import run_engine
from memedit.errors import MissingResourceError, SettingsError

SCRIPT = """
import sys
from pathlib import Path
from memedit.config import EngineSettings
from memedit.engine import run_engine
assert "torch" not in sys.modules and "transformers" not in sys.modules
run_engine(EngineSettings(model=Path(sys.argv[1]), served_model_name="small", port=0, device="cpu"))
"""


def test_it_says_where_it_serves_and_stops_when_told(checkpoint: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(checkpoint)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while not (found := re.search(r"serving small .* at (http://127\.0\.0\.1:\d+)", said)):
            line = process.stderr.readline()
            assert line, f"the engine ended before it served: {said}"
            said += line
        assert httpx2.get(f"{found[1]}/health").status_code == 200
        with httpx2.stream(
            "POST",
            f"{found[1]}/v1/completions",
            json={"prompt": "It", "max_tokens": 8, "stream": True},
        ) as answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) in (0, -signal.SIGINT, 130)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_what_is_missing_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--model"):
        run_engine(EngineSettings())
    with pytest.raises(MissingResourceError, match="absent"):
        run_engine(EngineSettings(model=tmp_path / "absent"))
