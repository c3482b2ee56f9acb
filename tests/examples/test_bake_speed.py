"""The measurement of batched baking runs, counts what it says, and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import bake_speed

QUICK = ("--texts", "8", "--set", "contexts=0", "--set", "search.steps=2", "--set", "layers=[0]")


def test_every_size_bakes_all_edits(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plot = tmp_path / "cost.svg"
    common = ["--model", str(tiny_checkpoint), "--edits", "5", "--plot", str(plot), *QUICK]
    bake_speed.main([*common, "--sizes", "1,3", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert [(row["batch"], row["edits"]) for row in said["sizes"]] == [(1, 5), (3, 5)]
    assert [len(row["each"]) for row in said["sizes"]] == [5, 2]
    for row in said["sizes"]:
        assert row["seconds"] == pytest.approx(sum(row["each"]))
        assert row["per_edit"] == pytest.approx(row["seconds"] / 5)
    bake_speed.main([*common, "--sizes", "1,5", "--sample", "2", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert [(row["batch"], row["edits"], len(row["each"])) for row in said["sizes"]] == [
        (1, 2, 2),
        (5, 5, 1),
    ], "the largest size gets all edits, the others a sample"
    assert plot.read_text().lstrip().startswith("<?xml")
    with pytest.raises(SystemExit):
        bake_speed.main([*common, "--sizes", "6"])
    assert "expected 1 to 5" in capsys.readouterr().err
