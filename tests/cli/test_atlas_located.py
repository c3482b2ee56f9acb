"""The reference model for real: its layers are located, edited there, looked into and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memedit.evaluation.analysis.record import Analysis
from memedit.modeling.locate import load_site
from tests.cli.conftest import Run

FEW = ("--max-tokens", 12, "--fluency", 0, "--general", 0)
TASKS = ("--task", "convsent", "--task", "wiki_counterfact", "--task", "zsre")


def test_located_layers_are_edited_recorded_and_never_mixed(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    atlas, report, old = repository / "examples/atlas/model", tmp_path / "out", tmp_path / "old"
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache")}  # nobody else edits where this finds layers
    methods = "ft-m,ft-m:layer=1"
    common = ("eval", "--dataset", "atlasedit", "--split", "train", "--model", atlas, *FEW)
    begun = (*common, "--task", "zsre", "--limit", 1, "--method", "ft-m", "--report", old)

    ran = run(*begun, "--analysis", 0, env=home)
    assert ran.code == 0, ran.err
    by_rule = json.loads((old / "manifest.json").read_text())["layers"]
    assert by_rule == {"ft-m": {"layers": [2], "from": "rule"}}

    # --- where facts are recalled: an MLP in the lower half, at the subject's last token ---
    ran = run("locate", atlas, "--limit", 16, "--samples", 1, "--json", env=home)
    assert ran.code == 0, ran.err
    trace, site = ran.json["trace"], ran.json["site"]
    assert trace["known"] >= 12
    assert trace["clean"]["mean"] > 0.9 and trace["corrupted"]["mean"] < 0.3
    mlp: dict[str, list[float]] = {}
    for cell in trace["cells"]:
        if cell["kind"] == "mlp":
            mlp.setdefault(cell["position"], []).append(cell["effect"])
    early = mlp["subject_last"]
    assert site["layer"] == early.index(max(early)) < trace["n_layers"] / 2
    assert max(early[trace["n_layers"] // 2 :]) < max(early) / 3
    late = mlp["prompt_last"]
    assert late.index(max(late)) >= trace["n_layers"] / 2, "another peak, which is not proposed"
    assert load_site(site["fingerprint"], tmp_path / "cache/memedit/sites")

    # --- edits there are measured, looked into and reported ---
    measured = (*common, *TASKS, "--limit", 6, "--method", methods, "--report", report)
    ran = run(*measured, "--analysis", 4, "--json", env=home)
    assert ran.code == 0, ran.err
    manifest = json.loads((report / "manifest.json").read_text())
    assert manifest["layers"] == {
        "ft-m": {"layers": [site["layer"]], "from": "located"},
        "ft-m:layer=1": {"layers": [1], "from": "settings"},
    }
    success = {
        row["method"]: row["value"]
        for row in ran.json
        if (row["metric"], row["scoring"], row["task"], row["kind"])
        == ("edit_success", "generated", "wiki_counterfact", "")
    }
    assert success == dict.fromkeys(methods.split(","), 1.0)

    found = Analysis.load(report)
    assert found is not None
    edited = {one.case for one in found.changed}
    assert len(edited) == 4
    assert not any(name.startswith("convsent") for name in edited), "an opinion is no fact"
    assert {one.parameter for one in found.changed} == {
        f"model.layers.{layer}.mlp.down_proj.weight" for layer in (1, site["layer"])
    }
    assert {one.case for one in found.located} <= edited and any(t.tells for t in found.located)
    groups = {one.group for one in found.similar if one.units.startswith("layers")}
    assert {"same fact in other words", "unrelated"} <= groups
    _shown(report, found, site)

    # --- where it was begun at one layer it does not go on at another ---
    again = run(*begun, "--analysis", 0, env=home)
    assert again.code == 2
    assert f"layer 2 (a rule: none was located); now it would be layer {site['layer']}" in again.err


def _shown(report: Path, found: Analysis, site: dict[str, Any]) -> None:
    told = (report / "report.md").read_text(encoding="utf-8")
    assert f"ft-m: layer {site['layer']} (located); ft-m:layer=1: layer 1 (as set)" in told
    assert f"Causal tracing of {len(found.located)} prompts" in told
    silent = sum(not one.tells for one in found.located)
    assert (f"In {silent} of them the noise takes less" in told) == (silent > 0)
    for title in (
        "How the weights changed",
        "What the changed value vectors say",
        "Where facts are decided",
        "Are related facts in the same places?",
        "What was analysed, and what not",
    ):
        assert f"## {title}" in told
    assert "| Restored | Facts | Clean | Corrupted |" in told
    page = (report / "report.html").read_text(encoding="utf-8")
    for words in ("restored: mlp", "Hit@10", "unrelated", "RSim"):
        assert words in page
