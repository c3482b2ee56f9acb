"""A run's folder: whose layers it holds, how long was worked on it, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memedit.errors import SettingsError
from memedit.evaluation import run_folder
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


class Clock:
    """Stands for the time that passes."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(run_folder, "time", made)
    return made


def test_the_pause_of_a_run_that_was_broken_off_is_not_counted(
    tmp_path: Path, clock: Clock
) -> None:
    first = {**manifest(), "started": "2026-11-25T01:00:00+00:00", "commands": ["memedit eval"]}
    begun = RunFolder(tmp_path, first)
    clock.now += 60
    begun.add(("none", "single", "a"), [])
    clock.now += 7 * 3600  # killed, and gone on with the next morning
    again = RunFolder(tmp_path, first)
    clock.now += 30
    again.add(("none", "single", "b"), [])
    assert again.worked == 90
    again.write_rows([])
    again.manifest |= {"worked": again.worked, "finished": "2026-11-25T08:01:30+00:00"}
    again.write_manifest()
    said = dict(view(read_run(tmp_path)).facts)["Measured"]
    assert said == "2026-11-25 01:00 UTC, took 90 s in 2 commands, pauses not counted"
    clock.now += 3600
    assert RunFolder(tmp_path, first).worked == 90


def test_how_long_was_worked_on_an_older_run_is_not_made_up(tmp_path: Path, clock: Clock) -> None:
    RunFolder(tmp_path, manifest())
    (tmp_path / "done.jsonl").write_text('{"method": "none", "setting": "single", "case": "a"}\n')
    known = json.loads((tmp_path / "manifest.json").read_text())
    del known["worked"]
    known |= {"started": "2026-11-25T01:00:00+00:00", "finished": "2026-11-25T08:00:00+00:00"}
    (tmp_path / "manifest.json").write_text(json.dumps({**known, "commands": ["a", "b"]}))
    again = RunFolder(tmp_path, manifest())
    again.add(("none", "single", "b"), [])
    assert again.worked is None
    (tmp_path / "manifest.json").write_text(json.dumps({**known, "commands": ["a", "b"]}))
    again.write_rows([])
    said = dict(view(read_run(tmp_path)).facts)["Measured"]
    assert said == "2026-11-25 01:00 UTC, 420.0 min to the end of the last of 2 commands"


def test_another_run_is_refused_in_words_and_everything_that_differs_is_told(
    tmp_path: Path,
) -> None:
    data = {"name": "zsre", "fingerprint": "a" * 64, "records": 9, "cases": 3}
    amounts = {"max_tokens": 64, "general": 2}
    run = {**manifest(), "dataset": data, "amounts": amounts, "cases": "x"}
    RunFolder(tmp_path, run)
    other = {**run, "dataset": {**data, "cases": 9}, "cases": "y", "setting": "batch"}
    with pytest.raises(SettingsError) as error:
        RunFolder(tmp_path, {**other, "amounts": {**amounts, "max_tokens": 8}})
    said = str(error.value)
    for words in (
        *("another number of cases: 3, not 9", "another setting: single, not batch"),
        *("another --max-tokens: 64, not 8", "Choose another --report folder"),
    ):
        assert words in said
    assert "{" not in said and '"' not in said and "general" not in said
    with pytest.raises(SettingsError, match="another choice of cases: other ones of the data set"):
        RunFolder(tmp_path, {**run, "cases": "y"})


def test_two_processes_are_not_at_work_on_one_run(tmp_path: Path) -> None:
    held = RunFolder(tmp_path, manifest())
    code = (
        "import sys; from pathlib import Path; from memedit.errors import SettingsError\n"
        "from memedit.evaluation.run_folder import RunFolder\n"
        "try:\n    RunFolder(Path(sys.argv[1]), {'methods': ['none']})\n"
        "except SettingsError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "another process is at work on" in said
    del held
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "another process" not in said
