"""``memedit train remedi`` and ``language-patches``, and adapters that use what they made."""

from __future__ import annotations

import json
from pathlib import Path

from memedit.evaluation.training_data import read_trained
from tests.cli.conftest import Run
from tests.cli.test_train import facts


def test_parts_are_trained_and_used(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = facts(tmp_path, 12)
    common = ("--data", f"knowedit:{file}", "--model", tiny_checkpoint, "--json")
    ran = run("train", "remedi", *common, "--out", "map", "--steps", 2)
    assert ran.code == 0, ran.err
    assert ran.json["edits"] + ran.json["held_out"]["n"] == 12 and ran.json["held_out"]["n"] > 0
    ran = run("train", "language-patches", *common, "--out", "gate", "--layer", 1, "--steps", 20)
    assert ran.code == 0, ran.err
    assert ran.json["layer"] == 1 and ran.json["held_out"]["outside"]["n"] > 0
    assert [one.file for one in read_trained(tmp_path / "gate").files] == ["toy_train.json"]
    again = run("train", "remedi", *common, "--out", "map")
    assert again.code == 1 and "there already" in again.error["message"]

    edits = ("--edits", file, "--format", "knowedit", "--limit", 1, "--model", tiny_checkpoint)
    for method, setting in (
        ("remedi", f"map={tmp_path / 'map'}"),
        ("language-patches", f"gate={tmp_path / 'gate'}"),
    ):
        learn = ("adapt", "--method", method, "--set", setting, "--set", "search.steps=2", *edits)
        ran = run(*learn, "--out", method, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["servable_by"] == ["process"]
        manifest = json.loads((tmp_path / method / "manifest.json").read_text())
        assert manifest["method"] == method and len(manifest["edits"]) == 1
    nowhere = run("adapt", "--method", "remedi", "--set", "map=nowhere", *edits, "--out", "n")
    assert nowhere.code != 0 and "memedit train remedi" in nowhere.err
