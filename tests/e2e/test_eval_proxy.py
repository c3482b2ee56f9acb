"""``memedit eval --proxy``: AtlasEdit's edits in a proxy's memory, measured over a real vLLM."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.eval_parts import open_proxy
from memedit.evaluation.local import LocalModel
from tests.e2e.findings import FINDINGS
from tests.e2e.stack import REPOSITORY, Proxy, Vllm, model_folder, own_settings

ATLASEDIT = REPOSITORY / "examples" / "atlas" / "data" / "atlasedit"
FACTS = ("wiki_recent", "wiki_counterfact", "zsre")
OTHERS = ("convsent", "multihop", "sanitation", "wikibio")
CASES = int(os.environ.get("MEMEDIT_TEST_CASES") or 5)
"""How many cases of each task are asked about; docs/measured.md has what 20 gave."""
METRICS = (
    *("edit_success", "generality", "multihop", "retention", "locality", "sentiment"),
    *("locality_cleaned", "general_ability_kept"),
)
SCORINGS = ("generated", "teacher_forced")
Found = dict[tuple[str, str, str, str], dict[str, Any]]
"""Method, task, metric and scoring -> the row over all kinds."""


def _eval(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "memedit.cli", "eval", *arguments, "--json"]
    done = subprocess.run(
        command, cwd=folder, env=own_settings(), capture_output=True, timeout=1_400, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _measured(proxy: Proxy, folder: Path) -> Found:
    """Measure all tasks with the edits of all in memory; afterwards the memory is empty."""
    before = proxy.api("GET", "/namespaces").json()["namespaces"]
    arguments = ["--dataset", f"atlasedit:{ATLASEDIT}", "--proxy", proxy.url]
    arguments += ["--method", "none,proxy", "--setting", "batch", "--all-edits"]
    arguments += [
        "--limit",
        str(CASES * len((*FACTS, *OTHERS))),
        "--general",
        "1",
        "--fluency",
        "2",
    ]
    arguments += ["--max-tokens", "24", "--report", str(folder / "run")]
    for task in (*FACTS, *OTHERS):
        arguments += ["--task", task]
    rows = _eval(folder, *arguments)
    assert proxy.api("GET", "/namespaces").json()["namespaces"] == before
    assert {row["scoring"] for row in rows} == {*SCORINGS}
    assert {row["setting"] for row in rows} == {"batch"}
    assert not {row["metric"] for row in rows} & {"kl", "added_bytes"}
    assert (folder / "run" / "report.html").is_file()
    found = {
        (row["method"], row["task"], row["metric"], row["scoring"]): row
        for row in rows
        if row["kind"] == ""
    }
    for task, scoring in itertools.product((*FACTS, *OTHERS), SCORINGS):
        for metric in METRICS:
            if ("proxy", task, metric, scoring) in found:
                told = " ".join(
                    f"{method} {found[method, task, metric, scoring]['value']:.2f}"
                    for method in ("none", "proxy")
                )
                FINDINGS.append(
                    f"eval over vLLM, all edits of AtlasEdit in memory, {task} {metric} "
                    f"({scoring}): {told}"
                )
        if task != "sanitation":  # which asks what is to be retained instead
            assert found["none", task, "locality", scoring]["value"] == 1.0
        assert found["proxy", task, "tokens_added", "generated"]["value"] > 0
    return found


def _left_out(folder: Path) -> set[str]:
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    return {note["what"] for note in manifest["not_scored"]}


@pytest.mark.timeout(1500)
def test_all_edits_of_atlasedit_in_a_proxys_memory(
    vllm: Vllm, proxy: Proxy, tmp_path: Path
) -> None:
    """The same rows as for a checkpoint, but for KL."""
    found = _measured(proxy, tmp_path)
    for task in FACTS:
        own = found["proxy", task, "edit_success_right_edit", "generated"]
        assert own["n"] == CASES
        # AtlasEdit edits a few prompts twice, to different answers: there the newer edit speaks
        assert own["value"] >= 0.8
        assert found["proxy", task, "edit_success_fired", "generated"]["value"] >= 0.95
        for scoring in SCORINGS:
            assert (
                found["proxy", task, "edit_success", scoring]["value"]
                > found["none", task, "edit_success", scoring]["value"]
            )
    for task in OTHERS:
        # a chain may have several edits
        assert found["none", task, "edit_success", "generated"]["n"] >= CASES
    topic = found["none", "convsent", "sentiment_z_topic", "teacher_forced"]
    assert topic["value"] == pytest.approx(1)
    assert found["proxy", "multihop", "multihop", "generated"]["n"] >= CASES
    assert found["proxy", "sanitation", "retention", "generated"]["n"] >= 1
    assert _left_out(tmp_path) == {"none: divergences", "proxy: divergences"}


def test_scores_of_a_served_model_are_those_of_its_checkpoint(vllm: Vllm, proxy: Proxy) -> None:
    """Both in bfloat16, whose rounding differs; a place too far, and all would be another token."""
    questions = {
        "The capital of France is": "Paris",
        "What is the capital of France?": "Berlin",
        "Mongolia shares borders with": "Russia and China",
        "Which language do people speak in Bolivia?": "Spanish",
    }
    with open_proxy(proxy.url, form="auto", served=None, key=None, admin_key=None) as (model, _):
        assert model.scores
        served = model.score([*questions], [*questions.values()])
    local = LocalModel.load(model_folder(), dtype="bfloat16", device="cpu")
    for one, other in zip(served, local.score([*questions], [*questions.values()]), strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, rel=0.05, abs=0.15)
        assert one.predicted == other.predicted
