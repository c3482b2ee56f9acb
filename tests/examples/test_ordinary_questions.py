"""Ordinary questions beside edits: what fires is counted, listed, and told from what asks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import ordinary_questions
from memedit.scope.split import held_out_subject

LANDS = ("Quendoria", "Marovia", "Zarkania", "Belland", "Ostrovia", "Velland", "Noria", "Tarsia")
UNSEEN = [land for land in LANDS if held_out_subject(land)]
RECORDS = [
    {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": f"Lind{number}",
        "ground_truth": "Velden",
        "rephrase_prompt": f"What is the capital of {land}?",
        "locality": {},
        "portability": {},
    }
    for number, land in enumerate(LANDS)
]
ASKED = [
    {"question": "What is the capital of Marovia?", "answers": ["Velden"]},
    {"question": "Who composed Yesterday?", "answers": ["Paul McCartney"]},
    {"question": "Who composed Yesterday?", "answers": []},
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    edits, questions = tmp_path / "edits.json", tmp_path / "questions.json"
    edits.write_text(json.dumps(RECORDS), encoding="utf-8")
    questions.write_text(json.dumps(ASKED), encoding="utf-8")
    return str(questions), f"knowedit:{edits}"


def test_what_fires_is_counted_and_listed(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    questions, edits = files
    ordinary_questions.main([questions, "--dataset", edits, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["edits"], said["classifier"]) == (len(LANDS), "pair")
    assert said["ordinary"] == {"n": 2, "fire": 1, "share": 0.5, "may_ask": 1}
    [fired] = said["fired"]
    assert fired["question"] == ASKED[0]["question"] and fired["may_ask"]
    assert fired["applied"] == ["The capital of Marovia is Lind1."]
    assert UNSEEN and said["paraphrases"] == {"n": len(UNSEEN), "right_edit": 1.0}
    ordinary_questions.main([questions, "--dataset", edits])
    told = capsys.readouterr().out
    assert "1 of 2 fire (0.5000); 1 may ask" in told
    assert "(may ask it) What is the capital of Marovia? | The capital of Marovia is" in told


def test_a_file_without_questions_is_said_to_be_one(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('[{"prompt": "a?"}]', encoding="utf-8")
    with pytest.raises(SystemExit):
        ordinary_questions.main([str(wrong), "--dataset", files[1]])
    assert "KeyError: 'question'" in capsys.readouterr().err
