"""memedit demos build: from a data set's probes, or a memory's edits, to what ike shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.incontext.demonstrations import (
    Demonstration,
    DemonstrationStore,
    shipped_demonstrations,
)
from memedit.scope.base import Encoder
from tests.cli.conftest import Run

RECORDS: list[dict[str, Any]] = [
    {
        "prompt": "The anthem of Torvale is",
        "subject": "Torvale",
        "target_new": "The Long Bridge",
        "ground_truth": ["None"],
        "rephrase_prompt": "What is Torvale's anthem called?",
        "locality": {
            "Relation_Specificity": [
                {"prompt": "The anthem of France is", "ground_truth": ["La Marseillaise", "it"]}
            ]
        },
    },
    {"prompt": "Who guards Elm Gate?", "subject": "Elm Gate", "target_new": "Ina Roth"},
    {"prompt": "long " * 200, "subject": "long", "target_new": "x"},
]


def stored(folder: str, encoder: Encoder) -> list[Demonstration]:
    return [one.said for one in DemonstrationStore.open(Path(folder), encoder).demonstrations]


def test_of_a_knowedit_file(run: Run, encoder: Encoder, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(RECORDS), encoding="utf-8")
    ran = run("demos", "build", "demos", "--dataset", f"knowedit:{file}", "--json")
    assert ran.code == 0
    counts = {name: ran.json[name] for name in ("facts", "copy", "update", "retain", "lent")}
    assert counts == {"facts": 2, "copy": 2, "update": 1, "retain": 2, "lent": 1}
    [skipped] = ran.json["skipped"]
    assert "mine[2]" in skipped["record"] and "at most 600" in skipped["reason"]
    anthem, gate = stored("demos", encoder)
    assert anthem.model_dump() == {
        "fact": "The anthem of Torvale is The Long Bridge.",
        "prompt": "The anthem of Torvale is",
        "answer": "The Long Bridge",
        "rephrases": ("What is Torvale's anthem called?",),
        "retain": ({"prompt": "The anthem of France is", "answer": "La Marseillaise"},),
    }
    assert gate.fact == 'The answer to "Who guards Elm Gate?" is Ina Roth.'
    shipped = [kept for one in shipped_demonstrations() for kept in one.retain]
    assert len(gate.retain) == 2 and set(gate.retain) <= set(shipped)

    told = run("demos", "build", "demos", "--dataset", f"knowedit:{file}", "--no-neighbours")
    assert "2 facts; 1 with rephrases, 1 with neighbours (0 of them lent), 1 edits" in told.out
    assert stored("demos", encoder)[1].retain == ()


def test_of_a_memory_what_holds_now_is_shown(run: Run, encoder: Encoder) -> None:
    def add(*arguments: str) -> None:
        assert run("add", *arguments).code == 0

    add("The capital of Quendoria is", "Old", "-s", "Quendoria")
    add("the capital of  Quendoria is", "Lindhaven", "-s", "Quendoria", "--rephrase", "Its seat?")
    add("The moon of Orrin is", "Tessel", "-s", "Orrin", "--valid-from", "2999-01-01")
    add("Who owns it?", "I don't know.", "-s", "it", "--operation", "erase")
    add("The owl of Pell is", "Ada", "-s", "Pell", "--namespace", "other")
    ran = run("demos", "build", "demos", "-n", "default", "--json")
    assert (ran.json["facts"], ran.json["update"], ran.json["lent"]) == (1, 1, 1)
    assert [one["reason"] for one in ran.json["skipped"]] == [
        "it does not hold now",
        "an erased fact is nothing to show",
    ]
    [capital] = stored("demos", encoder)
    assert (capital.answer, capital.rephrases) == ("Lindhaven", ("Its seat?",))
    assert run("demos", "build", "demos", "--json").json["facts"] == 2, "all namespaces"


def test_ike_shows_what_was_built(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("add", "The capital of Quendoria is", "Lindhaven", "-s", "Quendoria")
    run("add", "The owl of Pell is", "Ada", "-s", "Pell", "--rephrase", "Which owl has Pell?")
    assert run("demos", "build", "mine").code == 0
    monkeypatch.setenv("MEMEDIT_INCONTEXT__CHAT", "ike")
    asked = ("route", "What is the capital of Quendoria?", "What is 2 + 2?", "--json")
    shipped = [line["demonstrations"] for line in run(*asked).json]
    monkeypatch.setenv("MEMEDIT_INCONTEXT__DEMONSTRATIONS", "mine")
    [line, other] = run(*asked).json
    assert (line["demonstrations"], other["demonstrations"]) == (2, 0), "Pell's and its own"
    assert shipped[0] > 10 and shipped[1] == 0
    monkeypatch.setenv("MEMEDIT_INCONTEXT__DEMONSTRATION_TOKENS", "50")
    assert run(*asked).json[0]["note"] == "fewer-demonstrations"
    assert "in_scope (fewer-demonstrations)" in run(*asked[:-1]).out
    monkeypatch.setenv("MEMEDIT_INCONTEXT__DEMONSTRATIONS", "nowhere")
    ran = run(*asked)
    assert ran.code == 1 and "memedit demos build" in ran.error["message"]


def test_what_cannot_be_built_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.txt").write_text("mine", encoding="utf-8")
    run("add", "The owl of Pell is", "Ada", "-s", "Pell")
    ran = run("demos", "build", "photos", "--json")
    assert ran.code == 1 and "something else" in ran.error["message"]
    ran = run("demos", "build", "demos", "-n", "empty", "--json")
    assert ran.code == 2 and "nothing to show" in ran.error["message"]
    ran = run("demos", "build", "demos", "--dataset", "knowedit:x.json", "-n", "a", "--json")
    assert ran.code == 2 and "leave out" in ran.error["message"]
