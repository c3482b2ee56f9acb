"""``memedit eval --report`` with its analysis: from the reference model's facts to the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memedit.evaluation.analysis.facts import CONSISTENCY, SAME_SUBJECT, UNRELATED
from memedit.evaluation.analysis.record import Analysis
from tests.cli.conftest import Run

FEW = ("--max-tokens", 2, "--fluency", 0, "--general", 0, "--device", "cpu")


def _line(report: str, start: str) -> list[str]:
    """Return the cells of the first table line that starts so."""
    line = next(one for one in report.splitlines() if one.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_edits_of_facts_did_stands_in_the_report(
    run: Run, repository: Path, tmp_path: Path
) -> None:
    """Opinions come first in the data set; what is analysed are the facts behind them."""
    atlas = repository / "examples/atlas/model"
    if not (atlas / "model.safetensors").exists():
        pytest.skip("examples/atlas/model is not there yet")
    report = tmp_path / "out"
    ran = run(
        *("eval", "--dataset", "atlasedit", "--task", "convsent", "--task", "zsre"),
        *("--model", atlas, "--method", "ft-m", "--limit", 6, "--analysis", 3),
        *("--report", report, *FEW),
    )
    assert ran.code == 0, ran.err
    found = Analysis.load(report)
    assert found is not None
    cases = [one.case for one in found.changed]
    assert len(cases) == 3 and all(name.startswith("zsre") for name in cases)
    assert {one.case for one in found.located} == {*cases}
    assert any("3 of 6 cases were not analysed" in note for note in found.notes)
    assert all(one.norm > 0 for one in found.changed) and found.changed[0].heat
    groups: dict[str, set[str]] = {}
    for one in found.similar:
        groups.setdefault(one.units, set()).add(one.group)
    assert {CONSISTENCY, SAME_SUBJECT, UNRELATED} <= groups["layers (mlp)"]
    assert any(units.startswith("columns (ft-m") for units in groups)
    page = (report / "report.html").read_text(encoding="utf-8")
    text = (report / "report.md").read_text(encoding="utf-8")
    for title in ("Where facts are decided", "What was analysed, and what not"):
        assert title in page and title in text
    own = [one for one in found.located if one.role == "edit" and one.tells]
    assert len(own) >= 2, "noise on the subject takes these answers away"
    _, facts, clean, corrupted, best, effect, _ = _line(text, "mlp")
    assert facts == str(len(own))
    assert float(clean) == pytest.approx(_mean([one.clean for one in own]), abs=6e-4)
    assert float(corrupted) == pytest.approx(_mean([one.corrupted for one in own]), abs=6e-4)
    means = [_mean(values) for values in zip(*(one.effect("mlp") for one in own), strict=True)]
    assert int(best) == means.index(max(means))
    assert float(effect) == pytest.approx(max(means), abs=6e-4)


def _mean(values: Any) -> float:
    return sum(values) / len(values)
