"""``memedit eval`` of baked methods: which layers a run holds, and that it never mixes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.engine.loading import load_model
from memedit.modeling.fingerprint import model_fingerprint
from memedit.modeling.locate import Site, save_site
from tests.cli.conftest import Run

FEW = ("--max-tokens", 2, "--fluency", 0, "--general", 0, "--analysis", 0, "--device", "cpu")
RECORDS = [
    {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": "Lindhaven",
        "ground_truth": "Oldcastle",
        "rephrase_prompt": f"Which city is the capital of {land}?",
    }
    for land in ("Quendoria", "Marovia")
]


@pytest.fixture
def eval_in(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> Any:
    """Measure in a folder; layers are located in a cache of this test's own."""
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(RECORDS))
    common = ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint, *FEW)
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    return lambda folder, methods: run(
        *common, "--method", methods, "--report", tmp_path / folder, env=home
    )


def layers(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())["layers"]


def test_a_run_says_its_layers_and_goes_on_with_no_others(
    eval_in: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    ran = eval_in("out", "none,ft-m,ft-l:layer=1")
    assert ran.code == 0, ran.err
    assert layers(tmp_path / "out") == {
        "ft-m": {"layers": [0], "from": "rule"},
        "ft-l:layer=1": {"layers": [1], "from": "settings"},
    }
    told = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "ft-m: layer 0 (a rule: none was located); ft-l:layer=1: layer 1 (as set)" in told

    # What 'memedit locate' does when it finds layer 1 best.
    found = model_fingerprint(load_model(tiny_checkpoint, dtype="auto", device="cpu").model)
    save_site(Site(1, (0, 1), "located", found), tmp_path / "cache" / "memedit" / "sites")
    again = eval_in("out", "none,ft-m,ft-l:layer=1")
    assert again.code == 2
    assert "cases of ft-m with layer 0 (a rule: none was located)" in again.err
    assert "now it would be layer 1 (located)" in again.err
    assert layers(tmp_path / "out")["ft-m"] == {"layers": [0], "from": "rule"}

    ran = eval_in("out", "ft-m:layer=0,ft-l:layer=1")
    assert ran.code == 0, "what is set is not moved by what was located"
    ran = eval_in("fresh", "ft-m,kn")
    assert ran.code == 0, ran.err
    assert layers(tmp_path / "fresh") == {"ft-m": {"layers": [1], "from": "located"}}
    told = (tmp_path / "fresh" / "report.md").read_text(encoding="utf-8")
    assert "ft-m: layer 1 (located)" in told
