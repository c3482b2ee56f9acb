"""``memedit eval --compare``: the report of a run shows an earlier one beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import Run
from tests.cli.test_eval import FEW, RECORDS


def test_a_report_beside_an_earlier_run(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Each number of both runs is in the comparison; what only one of them has is named."""
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(RECORDS))
    first, second = tmp_path / "first", tmp_path / "second"
    arguments = ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint, *FEW)
    weak, strong = "ft-m:steps=1:rate=1e-6", "ft-m"
    ran = run(*arguments, "--method", f"none,{weak}", "--report", first, "--json")
    assert ran.code == 0, ran.err
    kept = {path.name: path.read_bytes() for path in first.iterdir()}
    ran = run(
        *(*arguments, "--method", f"none,{strong}", "--report", second),
        *("--compare", first, "--json"),
    )
    assert ran.code == 0, ran.err
    assert {path.name: path.read_bytes() for path in first.iterdir()} == kept

    text = (second / "report.md").read_text(encoding="utf-8")
    said = text.partition("## Compared with an earlier run")[2].partition("\n## ")[0]
    assert str(first) in said and "The data sets differ" not in text
    then, now = ({_key(row): row for row in _rows(folder)} for folder in (first, second))
    both = then.keys() & now.keys()
    assert both and {key[0] for key in both} == {"none"}
    assert f"of {len(both)} rows differ" in said
    lines = [line for line in said.splitlines() if line.startswith("| toy |")]
    shared = [key for key in both if key[1] == "toy"]
    assert len(lines) == len(shared)
    assert all("| none |" in line for line in lines)
    for words, method in (("Only in this run", strong), ("Only in the earlier run", "ft-m:")):
        [named] = [line for line in said.splitlines() if line.startswith(words)]
        assert method in named
    html = (second / "report.html").read_text(encoding="utf-8")
    assert '<section id="comparison">' in html and str(first) in html
    assert '<section id="comparison">' not in (first / "report.html").read_text(encoding="utf-8")


def test_no_run_to_compare_with(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(RECORDS[:1]))
    arguments = ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint, *FEW)
    ran = run(
        *(*arguments, "--method", "none", "--report", tmp_path / "out"),
        *("--compare", tmp_path / "nothing"),
    )
    assert ran.code == 1
    assert "nothing is no folder" in ran.err.strip().splitlines()[-1]


def _rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return found


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("method", "task", "setting", "scoring", "metric", "kind"))
