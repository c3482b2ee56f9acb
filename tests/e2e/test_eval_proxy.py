"""``memedit eval --proxy``: AtlasEdit's edits in a proxy's memory, measured over a real vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.eval_parts import open_proxy
from memedit.evaluation.local import LocalModel
from tests.e2e.findings import FINDINGS
from tests.e2e.stack import REPOSITORY, Proxy, Vllm, model_folder, own_settings

ATLASEDIT = REPOSITORY / "examples" / "atlas" / "data" / "atlasedit"
FACTS = ("wiki_recent", "wiki_counterfact", "zsre")
TASKS = ("convsent", "multihop", "sanitation", "wikibio", *FACTS)
METRICS = ("edit_success", "generality", "multihop", "retention", "locality", "sentiment")
EACH = 3
"""Cases of every task that are asked about."""


def _eval(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "memedit.cli", "eval", *arguments, "--json"]
    done = subprocess.run(
        command, cwd=folder, env=own_settings(), capture_output=True, timeout=1_400, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _mean(rows: Iterable[dict[str, Any]]) -> float:
    """Return the mean over the cases of several tasks."""
    rows = list(rows)
    return float(sum(row["value"] * row["n"] for row in rows) / sum(row["n"] for row in rows))


@pytest.mark.timeout(1500)
def test_all_edits_of_atlasedit_in_a_proxys_memory(
    vllm: Vllm, proxy: Proxy, tmp_path: Path
) -> None:
    """The same rows as for a checkpoint, but for KL; afterwards the memory is empty.

    The edits of every task stand in the memory together, and some cases of each are asked about.
    """
    before = proxy.api("GET", "/namespaces").json()["namespaces"]
    arguments = ["--dataset", f"atlasedit:{ATLASEDIT}", "--proxy", proxy.url]
    arguments += ["--method", "none,proxy", "--setting", "batch", "--all-edits"]
    arguments += ["--limit", str(EACH * len(TASKS)), "--general", "1", "--fluency", "2"]
    rows = _eval(tmp_path, *arguments, "--max-tokens", "24", "--report", str(tmp_path / "run"))
    assert proxy.api("GET", "/namespaces").json()["namespaces"] == before
    scorings = ("generated", "teacher_forced")
    assert {row["scoring"] for row in rows} - {None} == {*scorings}  # None: what it cost
    assert {row["setting"] for row in rows} == {"batch"}
    assert {row["task"] for row in rows} >= set(TASKS)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    forced: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        if row["kind"] == "":
            by = forced if row["scoring"] == "teacher_forced" else found
            by[row["method"], row["task"], row["metric"]] = row
    for task in TASKS:
        for scoring, by in zip(scorings, (found, forced), strict=True):
            for metric in METRICS:
                if ("proxy", task, metric) in by:
                    told = " ".join(
                        f"{method} {by[method, task, metric]['value']:.2f}"
                        for method in ("none", "proxy")
                    )
                    FINDINGS.append(
                        f"eval over vLLM, all edits of AtlasEdit in memory, {task} {metric} "
                        f"({scoring}): {told}"
                    )
            assert by["none", task, "edit_success"]["n"] >= EACH  # a chain may have several edits
            if task != "sanitation":  # which asks what is to be retained instead
                assert by["none", task, "locality"]["value"] == 1.0
        assert found["proxy", task, "tokens_added"]["value"] > 0
    assert forced["none", "convsent", "sentiment_z_topic"]["value"] == pytest.approx(1)
    assert not {row["metric"] for row in rows} & {"kl", "added_bytes"}
    assert found["proxy", "multihop", "multihop"]["n"] >= EACH
    assert found["proxy", "sanitation", "retention"]["n"] >= 1
    own = [found["proxy", task, "edit_success_right_edit"] for task in FACTS]
    # AtlasEdit edits a few prompts twice, to different answers: there the newer edit speaks
    assert _mean(own) >= 0.8
    assert _mean(found["proxy", task, "edit_success_fired"] for task in FACTS) >= 0.95
    for by in (found, forced):
        unedited, edited = (
            _mean(by[method, task, "edit_success"] for task in FACTS)
            for method in ("none", "proxy")
        )
        assert edited > unedited
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    left_out = {note["what"]: note["reason"] for note in manifest["not_scored"]}
    assert left_out.keys() == {"none: divergences", "proxy: divergences"}
    assert (tmp_path / "run" / "report.html").is_file()


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
