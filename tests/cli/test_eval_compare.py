"""``memedit eval --compare``: the report of a run shows an earlier one beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memedit.evaluation.analysis.record import Analysis
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
    # the only kind of a metric is not told twice
    both = {key for key in then.keys() & now.keys() if "Relation_Specificity" not in key}
    assert both and {key[0] for key in both} == {"none"}
    assert f"of {len(both)} rows differ" in said
    compared = said.partition("rows only in this run")[0]
    lines = [line for line in compared.splitlines() if line.startswith("| toy |")]
    shared = [key for key in both if key[1] == "toy"]
    assert len(lines) == len(shared)
    assert all("| none |" in line for line in lines)
    for words, method in (("only in this run", strong), ("only in the earlier run", weak)):
        _, start, part = said.partition(f"rows {words}; they are in `")
        assert start and f"- **{method}**, single: " in part, "counted, not listed"
    assert f"`{first / 'rows.json'}`" in said
    html = (second / "report.html").read_text(encoding="utf-8")
    assert '<section id="comparison">' in html and str(first) in html
    assert '<section id="comparison">' not in (first / "report.html").read_text(encoding="utf-8")


def test_fewer_methods_into_the_same_folder_lose_nothing(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The report is of all that the folder holds: rows, comparison, and what edits did."""
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(RECORDS))
    arguments = ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint)
    arguments = (*arguments, "--max-tokens", 2, "--fluency", 0, "--general", 0, "--analysis", 2)
    first, out = tmp_path / "first", tmp_path / "out"
    assert run(*arguments, "--method", "none", "--report", first).code == 0
    ran = run(
        *(*arguments, "--method", "none,ice,ft-m:steps=2", "--report", out),
        *("--compare", first),
    )
    assert ran.code == 0, ran.err
    before = _rows(out)
    found = Analysis.load(out)
    ran = run(*arguments, "--method", "none", "--report", out, "--json")
    assert ran.code == 0, ran.err
    assert _rows(out) == before
    assert {row["method"] for row in json.loads(ran.out)} == {"none", "ice", "ft-m:steps=2"}
    after = Analysis.load(out)
    assert found is not None and found.changed
    assert after is not None and after.changed == found.changed
    assert after.mapped == found.mapped and set(after.similar) == set(found.similar)
    for name in ("report.md", "report.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert "3 methods: none, ice, ft-m:steps=2" in text
        assert "Compared with an earlier run" in text and str(first) in text

    (first / "rows.json").unlink()
    ran = run(*arguments, "--method", "none", "--report", out)
    assert ran.code == 0 and f"not compared with {first} any more" in ran.err
    assert "Compared with" not in (out / "report.md").read_text(encoding="utf-8")


def test_no_run_to_compare_with(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(RECORDS[:1]))
    arguments = ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint, *FEW)
    ran = run(
        *(*arguments, "--method", "none", "--report", tmp_path / "out"),
        *("--compare", tmp_path / "nothing"),
    )
    assert ran.code == 2
    assert "nothing is no folder" in ran.err.strip().splitlines()[-1]


def _rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return found


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("method", "task", "setting", "scoring", "metric", "kind"))
