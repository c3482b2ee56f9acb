"""What was measured of scope alone, in a report of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memedit.errors import DatasetError
from memedit.evaluation.report.scope import (
    FILE,
    ScopeMeasured,
    scope_parts,
    write_scope_report,
)
from tests.evaluation.report.run_folder import EVIL
from tests.evaluation.report.test_report import Page


def row(classifier: str, kind: str, value: float, **other: Any) -> dict[str, Any]:
    fires = kind != "other_subject"
    return {
        **{"classifier": classifier, "kind": kind, "n": 1200, "cleaned": False},
        **{"auroc": 0.9 if fires else None, "calibration_error": 0.04, "threshold": 0.7},
        **{"recall": value if fires else None, "own_edit": 1.0 if fires else None},
        **{"false_alarms": None if fires else value, "threshold_from": "shipped"},
        **{"accepted": None, "edits_in_memory": 2},
        **other,
    }


def rows(classifier: str, **other: Any) -> list[dict[str, Any]]:
    at = {"threshold_from": "file", "accepted": 0.01, **other}
    return [
        row(classifier, "generality", 0.81, **at),
        row(classifier, "other_subject", 0.008, **at),
        row(classifier, "generality", 0.87, **other),
        row(classifier, "other_subject", 0.02, **other),
        row(classifier, "other_subject", 0.01, **other, cleaned=True, n=1100),
    ]


CURVE = [(0.0, 0.0), (0.0, 0.5), (0.01, 0.81), (1.0, 1.0)]
MEASURED = ScopeMeasured(
    dataset={"name": f"knowedit:{EVIL}.json", "fingerprint": "c" * 64},
    command="memedit eval scope --dataset knowedit:x.json",
    measured="2026-11-27T02:00:00+00:00",
    versions={"memedit": "0.1"},
    unrelated=1100,
    rates=(0.01,),
    rows=(*rows("pair"), *rows("cosine")),
    curves={"pair": {"generality": CURVE}, "cosine": {"generality": CURVE}},
)


def test_classifiers_stand_beside_each_other_and_are_drawn() -> None:
    curves, tables = scope_parts(MEASURED)
    assert curves.plots[0][0] is not None and MEASURED.command in curves.says[0]
    assert not any(MEASURED.command in said for said in scope_parts(MEASURED, alone=True)[0].says)
    shipped, one, auroc, calibration, everything = tables.tables
    assert shipped.caption.startswith("At the shipped threshold (pair 0.700, cosine 0.700)")
    assert shipped.head == ("Prompts", "Share", "pair", "cosine", "n")
    assert shipped.lines == (
        ("generality", "recall", "0.870", "0.870", "1,200"),
        ("other subject", "false alarms", "0.020", "0.020", "1,200"),
        ("other subject, cleaned", "false alarms", "0.010", "0.010", "1,100"),
    )
    assert one.lines[0][2] == "0.810" and "Where 0.01" in one.caption
    assert auroc.lines == (("generality", "0.900", "0.900", "1,200"),)
    assert len(calibration.lines) == 3
    assert everything.folded and len(everything.lines) == len(MEASURED.rows)


def test_each_number_of_edits_has_its_tables() -> None:
    several = replace(MEASURED, rows=(*rows("pair"), *rows("pair", edits_in_memory=1000)))
    titles = [part.title for part in scope_parts(several)]
    assert titles[1:] == ["2 edits in memory", "1,000 edits in memory"]


def test_the_page_is_whole_fetches_nothing_and_follows_the_reader_s_colours(tmp_path: Path) -> None:
    written = write_scope_report(MEASURED, tmp_path)
    html = written.read_text("utf-8")
    page = Page(html)
    assert "1,100" in page.words and "2 classifiers: pair, cosine" in page.words
    assert "<script" not in html and EVIL in page.words
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", html)
    assert "currentColor" in html and "#000000" not in html.lower()
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "| generality | recall | 0.870 | 0.870 | 1,200 |" in text


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert ScopeMeasured.load(tmp_path) is None
    MEASURED.save(tmp_path)
    found = ScopeMeasured.load(tmp_path)
    assert found is not None and found.rows == MEASURED.rows and found.rates == MEASURED.rates
    assert [list(point) for point in CURVE] == found.curves["pair"]["generality"]
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(DatasetError, match="measure it again"):
        ScopeMeasured.load(tmp_path)
