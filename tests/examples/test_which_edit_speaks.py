"""Of several edits of one subject: what speaks is counted, and mistakes of the rule are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples import which_edit_speaks
from examples.which_edit_speaks import contested
from memedit.evaluation.datasets import load_dataset


def record(prompt: str, target: str, old: str, rephrased: str, subject: str) -> dict[str, Any]:
    return {
        "subject": subject,
        "prompt": prompt,
        "target_new": target,
        "ground_truth": old,
        "rephrase_prompt": rephrased,
        "locality": {},
        "portability": {},
    }


QUENDORIA = "What is the capital of Quendoria?"
RECORDS = [
    record("The capital of Quendoria is", "Lindhaven", "Velden", QUENDORIA, "Quendoria"),
    record("The capital city of Quendoria is", "Ansa", "Velden", QUENDORIA, "Quendoria"),
    record("The anthem of Quendoria is", "Tamsin", "Ode",
           "Which song is the anthem of Quendoria?", "Quendoria"),
    record("The capital of Marovia is", "Orm", "Tarn", "What is Marovia's capital?", "Marovia"),
]  # fmt: skip


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    file = tmp_path / "edits.json"
    file.write_text(json.dumps(RECORDS), encoding="utf-8")
    return f"knowedit:{file}"


def test_only_subjects_with_several_answers_are_asked_about(dataset: str) -> None:
    asked = contested(load_dataset(dataset).cases)
    assert [case.requests[0].target_new for case in asked] == ["Lindhaven", "Ansa", "Tamsin"]


def test_what_speaks_is_counted(dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    which_edit_speaks.main([dataset, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["edits"], said["classifier"]) == (4, "pair")
    own = said["kinds"]["own prompt"]
    assert own["n"] == 3 and own["speaks"] == {"own": 3}
    assert own["several"] == 2 and own["why"] == {}
    # of the two capitals, which ask the same, the newer one answers both paraphrases
    asked = said["kinds"]["paraphrase"]
    assert asked["speaks"] == {"another of its fact": 1, "own": 2}
    assert asked["why"] == {"newest": 1} and asked["several"] == 2
    assert said["mistakes"] == []
    which_edit_speaks.main([dataset, "--task", "nothing-of-it"])
    assert "4 edits in memory" in capsys.readouterr().out
