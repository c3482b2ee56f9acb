"""The single hops of gold chains: what the memory holds is what counts as right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples import gold_hops
from examples.gold_hops import Asked, Hop, counted, outcome_of


def hop(question: str, answer: str) -> dict[str, Any]:
    return {"question": question, "cloze": "", "answer": answer, "answer_alias": []}


def case(
    number: int, rewrite: tuple[str, str, str, str], hops: list[dict[str, Any]]
) -> dict[str, Any]:
    prompt, subject, question, target = rewrite
    return {
        "case_id": number,
        "requested_rewrite": [
            {"prompt": prompt, "subject": subject, "question": question,
             "target_new": {"str": target}, "target_true": {"str": "Old"}}
        ],
        "questions": ["?"],
        "new_answer": hops[-1]["answer"],
        "new_single_hops": hops,
    }  # fmt: skip


CAPITAL, RIVER = "What is the capital of Quendoria?", "Which river flows through Marovia?"
CASES = [
    case(1, ("The capital of {} is", "Quendoria", CAPITAL, "Lindhaven"),
         [hop(CAPITAL, "Lindhaven"), hop("Who is the mayor of Lindhaven?", "Ina")]),
    case(2, ("The river that flows through {} is", "Marovia", RIVER, "Vorn"),
         [hop(RIVER, "Vorn"), hop(CAPITAL, "Velden")]),
]  # fmt: skip


def test_every_question_is_asked_once_of_all_edits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(CASES), encoding="utf-8")
    gold_hops.main([str(file), "--classifier", "cosine", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["edits"], said["contested"], said["classifier"]) == (2, 1, "cosine")
    assert said["raw"]["outcomes"] == {"right": 2, "silent": 1}
    assert said["raw"]["edited"] == {"n": 2, "right": 1.0, "alone": 1.0}
    # the second case expects another capital than the first one's edit gives
    assert said["sound"]["edited"]["n"] == 1 and said["sound"]["unedited"]["n"] == 1
    assert said["mistakes"] == []


def test_an_outcome_is_that_of_the_first_edit() -> None:
    edited, other = Hop("a?", frozenset({1, 4}), False), Hop("b?", frozenset(), False)
    outcomes = [outcome_of(edited, those) for those in ([1], [4, 1], [1, 2], [2, 1], [])]
    assert outcomes == ["right", "right", "right_edit_first", "wrong_edit", "missed"]
    assert [outcome_of(other, those) for those in ([], [2])] == ["silent", "false_alarm"]
    asked = [Asked(edited, one) for one in outcomes] + [Asked(other, "silent")]
    row = counted(asked)
    assert (row["n"], row["right"], row["alone"]) == (6, 0.6667, 0.5)
    assert row["edited"] == {"n": 5, "right": 0.6, "alone": 0.4}
    assert row["unedited"] == {"n": 1, "silent": 1.0}
    assert row["edited_unseen_subjects"]["right"] is None
