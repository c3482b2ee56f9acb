"""A run's folder: whose layers it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.errors import SettingsError
from memedit.evaluation.report.run import read_run
from memedit.evaluation.report.view import view
from memedit.evaluation.run_folder import RunFolder


def manifest(**layers: Any) -> dict[str, Any]:
    return {"methods": ["none", *layers], "setting": "single", "layers": layers}


def edits(*layers: int, source: str = "located") -> dict[str, Any]:
    return {"layers": list(layers), "from": source}


def test_a_method_is_gone_on_with_where_it_was_begun_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, manifest(rome=edits(2, source="rule"), memit=edits(0, 1, 2)))
    folder.add(("rome", "single", "a"), [])
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(SettingsError) as error:
        RunFolder(tmp_path, manifest(rome=edits(3)))
    for words in ("rome", "layer 2 (a rule", "layer 3 (located)", "choose another --report"):
        assert words in str(error.value)
    assert (tmp_path / "manifest.json").read_bytes() == before
    again = RunFolder(tmp_path, manifest(rome=edits(2), memit=edits(1, 2)))
    assert again.manifest["layers"] == {
        "rome": edits(2, source="rule"),  # as its cases were made
        "memit": edits(1, 2),  # of which there were none
    }
    more = RunFolder(tmp_path, manifest(bird=edits(4, source="settings")))
    assert set(more.manifest["layers"]) == {"rome", "memit", "bird"}


def test_what_an_older_run_edited_stays_unsaid(tmp_path: Path) -> None:
    old = manifest(rome=edits(2))
    del old["layers"]
    RunFolder(tmp_path, old).add(("rome", "single", "a"), [])
    again = RunFolder(tmp_path, manifest(rome=edits(3), bird=edits(3)))
    assert again.manifest["layers"] == {"bird": edits(3)}


def test_the_report_shows_the_layers(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, manifest(rome=edits(3), memit=edits(2, 3, source="rule")))
    folder.write_rows([])
    said = dict(view(read_run(tmp_path)).facts)["Edited layers"]
    assert said == "rome: layer 3 (located); memit: layers 2, 3 (a rule: none was located)"
    (tmp_path / "manifest.json").write_text(json.dumps({"methods": ["none"]}))
    assert "Edited layers" not in dict(view(read_run(tmp_path)).facts)
