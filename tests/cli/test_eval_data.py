"""``memedit eval data``: counts and faults, and no model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

FACT = {"subject": "Leo", "prompt": "Leo died in", "target_new": "Jena", "ground_truth": "Ulm"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "bench"
    place.mkdir()
    nobody = {**FACT, "prompt": "He died in"}
    records = [FACT, {**FACT, "target_new": ""}, 7, nobody]
    (place / "zsre_dev.json").write_text(json.dumps(records))
    (place / "wiki_recent_train.json").write_text(json.dumps([FACT] * 3))
    return place


def test_it_counts_and_names_what_cannot_be_scored(run: Run, folder: Path) -> None:
    ran = run("eval", "data", "--dataset", f"knowedit:{folder}")
    assert ran.code == 0, ran.err
    assert "7 records, 5 cases, 5 edits, 5 probes" in ran.out
    assert "not scored: 2" in ran.out and "zsre_dev[2]" in ran.out
    assert "(scored)" not in ran.out
    named = run("eval", "data", "--dataset", f"knowedit:{folder}", "--faults")
    assert "zsre_dev[2]: expected an object, got int\n" in named.out
    last = named.out.splitlines()[-1]
    assert last.startswith("zsre_dev[3]: the subject does not stand") and "(scored)" in last


def test_its_json_has_every_count_file_and_fault(run: Run, folder: Path) -> None:
    arguments = ("eval", "data", "--dataset", f"knowedit:{folder}", "--task", "zsre", "--json")
    found = run(*arguments).json
    assert (found["records"], found["cases"], found["edits"]) == (4, 2, 2)
    assert [file["file"] for file in found["files"]] == ["zsre_dev.json"]
    assert found["probes"] == [{"task": "zsre", "metric": "edit_success", "kind": "", "n": 2}]
    assert {fault["where"] for fault in found["faults"] if fault["dropped"]} == {
        *("zsre_dev[1]", "zsre_dev[2]")
    }
    assert run(*arguments, "--limit", 1).json["cases"] == 1


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_file_of_which_nothing_can_be_scored_is_counted_and_fails(
    run: Run, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "known.json").write_text(json.dumps([{"subject": "Leo", "template": "{} is"}] * 2))
    ran = run("eval", "data", "--dataset", f"counterfact:{tmp_path / 'known.json'}", *flags)
    assert ran.code == 1 and "nothing to measure" in ran.err
    assert "requested_rewrite: expected an object, got nothing: it is missing" in ran.out


def test_what_is_not_there_is_one_line(run: Run, folder: Path) -> None:
    ran = run("eval", "data", "--dataset", "knowedit:nothing.json")
    assert ran.code == 1 and "nothing.json" in ran.err and len(ran.err.splitlines()) == 1
