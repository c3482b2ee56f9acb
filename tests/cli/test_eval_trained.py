"""``memedit eval --trained``: which tasks are in a trained part's domain, and which are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memedit.evaluation.datasets import load_dataset
from memedit.scope import pair
from tests.cli.conftest import Run

FEW = ("--max-tokens", 2, "--fluency", 0, "--general", 0, "--analysis", 0, "--device", "cpu")


def facts(folder: Path, name: str, land: str) -> str:
    folder.mkdir(exist_ok=True)
    record = {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": "Lindhaven",
        "ground_truth": "Oldcastle",
    }
    (folder / name).write_text(json.dumps([record]))
    return str(folder / name)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A part that was trained on another split of the toy's task."""
    spec = f"knowedit:{facts(tmp_path / 'data', 'toy_train.json', 'Marovia')}"
    [file] = load_dataset(spec).files
    part = tmp_path / "part"
    part.mkdir()
    about = {"format": file.format, "file": file.file, "sha256": file.sha256}
    (part / "manifest.json").write_text(json.dumps({"trained_on": [about]}))
    return part


@pytest.fixture
def eval_in(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> Any:
    facts(tmp_path / "data", "toy_test.json", "Quendoria")
    facts(tmp_path / "data", "other_test.json", "Orvel")
    common = ("eval", "--model", tiny_checkpoint, *FEW)

    def measure(*names: str, method: str = "none", **more: Any) -> Any:
        files = ",".join(str(tmp_path / "data" / f"{name}.json") for name in names)
        flags = [part for name, value in more.items() for part in (f"--{name}", value)]
        return run(*common, "--method", method, "--dataset", f"knowedit:{files}", *flags)

    return measure


def test_domains_are_told_and_summed_up_apart(eval_in: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = eval_in("toy_test", "other_test", trained=trained, report=out)
    assert ran.code == 0, ran.err
    assert "to part: toy in-domain, other cross-domain" in ran.err
    manifest = json.loads((out / "manifest.json").read_text())
    [said] = manifest["trained"]
    assert said["domains"] == {"toy": "in-domain", "other": "cross-domain"}
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "**part was trained on**: knowedit toy\\_train.json: toy in-domain;" in text
    glance = text.split("At a glance (generated)")[1].split("##")[0]
    assert "| none | single, in-domain |" in glance and "| none | single, cross-domain |" in glance
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "single, cross-domain" in html and "no test" not in html
    plain = eval_in("toy_test", report=tmp_path / "plain")
    assert plain.code == 0, plain.err
    text = (tmp_path / "plain" / "report.md").read_text(encoding="utf-8")
    assert "in-domain" not in text and "was trained on" not in text
    ran = eval_in("toy_test", report=tmp_path / "beside", compare=out)
    assert ran.code == 0, ran.err
    text = (tmp_path / "beside" / "report.md").read_text(encoding="utf-8")
    assert "trained parts were measured: now none, earlier part (of toy\\_train.json)" in text


def test_the_data_of_the_training_are_no_test(eval_in: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = eval_in("toy_train", "other_test", trained=trained, report=out)
    assert ran.code == 0, ran.err
    assert "to part: toy trained on, other cross-domain" in ran.err
    for name in ("report.md", "report.html"):
        shown = (out / name).read_text(encoding="utf-8")
        assert "trained on the very data of toy: scores there are no test" in shown
    other = tmp_path / "other-part"
    other.mkdir()
    (other / "manifest.json").write_text((trained / "manifest.json").read_text())
    again = eval_in("toy_train", "other_test", trained=other, report=out)
    assert again.code == 2 and "a run with another trained" in again.err


def test_the_methods_own_parts_count_where_they_say_it(
    eval_in: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMEDIT_SCOPE__WEIGHTS", str(trained))
    ran = eval_in("toy_test")
    assert ran.code == 0 and "to part" not in ran.err, "'none' has no scope"
    shutil.copytree(Path(pair.__file__).parent / "pair_model", trained, dirs_exist_ok=True)
    ran = eval_in("toy_test", "other_test", method="ice")
    assert ran.code == 0, ran.err
    assert "to part: toy in-domain, other cross-domain" in ran.err
    (trained / "manifest.json").unlink()  # the shipped classifier's own record has no files
    ran = eval_in("toy_test", method="ice")
    assert ran.code == 0 and "to part" not in ran.err, ran.err


def test_a_folder_that_does_not_say_is_refused(eval_in: Any, tmp_path: Path) -> None:
    ran = eval_in("toy_test", trained=tmp_path / "nowhere")
    assert ran.code == 2 and "is no folder" in ran.err
    ran = eval_in("toy_test", trained=tmp_path)
    assert ran.code == 2 and "says what it was trained on" in ran.err
