"""A data set in words."""

from __future__ import annotations

import json
from pathlib import Path

from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.summary import summary


def test_what_records_of_retention_are_is_said(tmp_path: Path) -> None:
    erased = {"question": "Who is Ann?", "subject": "Ann", "target_new": "I don't know."}
    kept = {"question": "Who is Bob?", "ground_truth": "A baker"}
    file = tmp_path / "sanitation_test.json"
    file.write_text(
        json.dumps({"K_F": [{**erased, "ground_truth": "A smith"}], "K_R": [kept, kept]})
    )
    text = summary(load_dataset(f"knowedit:{file}"))
    assert "3 records, 1 cases" in text or "3 records, 1 case," in text
    [line] = [line for line in text.splitlines() if line.startswith("    retention")]
    assert line.startswith("    retention: 2 (records that edit nothing: what has to stay")
