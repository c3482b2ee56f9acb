"""``memedit eval --proxy``: AtlasEdit's edits in a proxy's memory, measured over a real vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.findings import FINDINGS
from tests.e2e.stack import REPOSITORY, Proxy, Vllm, own_settings

ATLASEDIT = REPOSITORY / "examples" / "atlas" / "data" / "atlasedit"
TASKS = ("wiki_recent", "wiki_counterfact", "zsre")
LIMIT = 60


def _eval(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "memedit.cli", "eval", *arguments, "--json"]
    done = subprocess.run(
        command, cwd=folder, env=own_settings(), capture_output=True, timeout=1_400, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@pytest.mark.timeout(1500)
def test_all_edits_of_atlasedit_in_a_proxys_memory(
    vllm: Vllm, proxy: Proxy, tmp_path: Path
) -> None:
    """The same rows as for a checkpoint, by generated metrics; afterwards the memory is empty.

    The edits of every task stand in the memory together, and some of three tasks are asked about.
    """
    before = proxy.api("GET", "/namespaces").json()["namespaces"]
    arguments = ["--dataset", f"atlasedit:{ATLASEDIT}", "--proxy", proxy.url]
    arguments += ["--method", "none,proxy", "--setting", "batch", "--all-edits"]
    arguments += ["--limit", str(LIMIT), "--general", "1", "--fluency", "2", "--max-tokens", "24"]
    for task in TASKS:
        arguments += ["--task", task]
    rows = _eval(tmp_path, *arguments, "--report", str(tmp_path / "run"))
    assert proxy.api("GET", "/namespaces").json()["namespaces"] == before
    assert {row["scoring"] for row in rows} == {"generated"}
    assert {row["setting"] for row in rows} == {"batch"}
    found = {(row["method"], row["task"], row["metric"]): row for row in rows if row["kind"] == ""}
    for task in TASKS:
        for metric in ("edit_success", "generality", "locality", "general_ability_kept"):
            told = " ".join(
                f"{method} {found[method, task, metric]['value']:.2f}"
                for method in ("none", "proxy")
            )
            FINDINGS.append(
                f"eval over vLLM, all edits of AtlasEdit in memory, {task} {metric}: {told}"
            )
        own = found["proxy", task, "edit_success_right_edit"]
        assert own["n"] == LIMIT // len(TASKS)
        # AtlasEdit edits a few prompts twice, to different answers: there the newer edit speaks
        assert own["value"] >= 0.8
        assert found["proxy", task, "edit_success_fired"]["value"] >= 0.95
        assert found["none", task, "locality"]["value"] == 1.0
        assert (
            found["proxy", task, "edit_success"]["value"]
            > found["none", task, "edit_success"]["value"]
        )
        assert found["proxy", task, "tokens_added"]["value"] > 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    [reason] = {
        note["reason"] for note in manifest["not_scored"] if "teacher-forced" in note["what"]
    }
    assert "no probabilities" in reason
    assert (tmp_path / "run" / "report.html").is_file()
