"""memedit scope calibrate: thresholds on somebody's own prompts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.calibrated import Calibrated
from memedit.scope.operating import OperatingPoint, Share
from memedit.scope.training.fine_tune import Recipe
from tests.cli.conftest import Run

ORDINARY = [
    f"How many {animal} live in zoo {n}?" for n in range(30) for animal in ("bears", "owls")
]
NEAR = "The capital of Quendorina is"


@pytest.fixture
def memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return two stored edits, one of them with rephrases."""
    monkeypatch.setenv("MEMEDIT_SCOPE__CLASSIFIER", "cosine")
    rephrased = (
        "--rephrase",
        "Which city is Quendoria's capital?",
        "--rephrase",
        "Quendoria: seat?",
    )
    quendoria = ("The capital of Quendoria is", "Lindhaven", "--subject", "Quendoria")
    marovia = ("The anthem of Marovia is called", "Tamsin", "--subject", "Marovia")
    return [run("add", *quendoria, *rephrased, "--json").json, run("add", *marovia, "--json").json]


def written(folder: Path, *records: object) -> Path:
    file = folder / "traffic.jsonl"
    lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_threshold_per_rate_with_what_still_fires(
    run: Run, memory: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = written(tmp_path, *ORDINARY, NEAR)
    rates = ("--false-alarms", "0.02", "--false-alarms", "0.5", "--false-alarms", "0.001")
    found = run("scope", "calibrate", file, *rates, "--json").json

    assert (found["ordinary"], found["edits"], found["classifier"]) == (61, 2, "cosine")
    assert (found["setting"], found["environment"]) == (
        "scope.threshold",
        "MEMEDIT_SCOPE__THRESHOLD",
    )
    assert found["nearest"][0]["prompt"] == NEAR
    assert found["nearest"][0]["edit"] == f"{memory[0]['id']}@1"
    strict, some, loose = found["points"]
    assert [point["accepted"] for point in found["points"]] == [0.001, 0.02, 0.5]
    assert strict["needed"] == 1_000 and not strict["resolved"] and some["resolved"]
    assert strict["threshold"] > some["threshold"] >= loose["threshold"]
    assert strict["threshold"] > found["nearest"][0]["probability"] >= some["threshold"]
    assert any("cannot resolve 0.001" in note for note in found["notes"])
    for point in (found["in_force"], strict):
        own, rephrases = point["fires"]["own prompts"], point["fires"]["rephrases"]
        assert (own["n"], own["share"], own["right_edit"]) == (2, 1, 1)
        assert rephrases["n"] == 2
        assert rephrases["share"] <= 0.5, "a copy that does not know them has to recognise them"
        assert rephrases["low"] <= rephrases["share"] <= rephrases["high"]


def test_the_threshold_does_what_it_says(
    run: Run, memory: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = written(tmp_path, *ORDINARY, NEAR)
    [point] = run("scope", "calibrate", file, "--false-alarms", "0.01", "--json").json["points"]
    environment = {"MEMEDIT_SCOPE__THRESHOLD": repr(point["threshold"])}
    assert run("route", NEAR, "--json").json[0]["action"] == "in_context"
    assert run("route", NEAR, "--json", env=environment).json[0]["action"] == "pass"
    again = run("scope", "calibrate", file, "--json", env=environment).json
    assert again["in_force"]["threshold"] == point["threshold"]
    assert again["in_force"]["false_alarms"]["share"] == 0


@pytest.mark.parametrize(
    ("threshold", "accepted", "recall", "stays"),
    [
        (0.1, 0.2, 1.0, True),
        (0.1, 0.05, 1.0, False),
        (0.7, 0.2, 1.0, False),
        (0.1, 0.2, 0.9, False),
    ],
)
def test_a_lower_threshold_that_brings_nothing_is_not_advised(
    threshold: float, accepted: float, recall: float, stays: bool
) -> None:
    def at(given: float, accepted: float | None, fires: float) -> OperatingPoint:
        alarms, own = Share(0.1, 0.0, 0.3, 20), Share(fires, 0.5, 1.0, 10)
        return OperatingPoint(accepted, given, None, alarms, {"rephrases": own}, 0, True)

    now, other = at(0.5, None, recall), at(threshold, accepted, 1.0)
    found = Calibrated("pair", "x", ("default",), 2, (), {}, now, (other,), ({}, {}), ())
    [line] = found.advice()
    assert ("the threshold in force, 0.5, can stay" in line) is stays
    assert (f"scope.threshold = {threshold}" in line) is not stays


def test_the_gate_is_part_of_the_road(
    run: Run, memory: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = written(tmp_path, *ORDINARY, NEAR)
    found = run("scope", "calibrate", file, "--json", env={"MEMEDIT_SCOPE__GATE": "names"}).json
    assert found["nearest"] == [] and found["in_force"]["false_alarms"]["share"] == 0
    assert found["in_force"]["fires"]["own prompts"]["share"] == 1
    loose = run(
        *("scope", "calibrate", file, "--false-alarms", "0.05"),
        env={"MEMEDIT_SCOPE__GATE": "names"},
    )
    assert "ask for no threshold" in loose.out and "scope.threshold =" not in loose.out


def test_prompts_of_the_file_that_should_fire_take_the_place_of_the_memorys_own(
    run: Run, memory: list[dict[str, Any]], tmp_path: Path
) -> None:
    quendoria, marovia = (edit["id"] for edit in memory)
    turns = [
        {"role": "user", "content": "Tell me about Quendoria."},
        {"role": "user", "content": "What is its capital?"},
    ]
    file = written(
        tmp_path,
        *ORDINARY,
        {"prompt": "What is the capital of Quendoria?", "edit": quendoria},
        {"prompt": "What is the anthem of Marovia called?", "edit": f"{marovia}@1"},
        {"prompt": "The anthem of Marovia is called", "edit": quendoria},
        {"messages": turns, "should_fire": True},
        {"messages": [{"role": "user", "content": []}]},
        {"prompt": "Hello!", "should_fire": False},
    )
    found = run("scope", "calibrate", file, "--json").json
    given = found["in_force"]["fires"]["given"]
    assert list(found["in_force"]["fires"]) == ["given"]
    assert given["n"] == 4 and found["ordinary"] == 61
    assert given["right_edit"] == pytest.approx(2 / 3), "one of three names the wrong edit"
    assert any("1 conversation asks nothing" in note for note in found["notes"])


def test_the_table_says_where_the_threshold_goes_and_the_plot_is_drawn(
    run: Run, memory: list[dict[str, Any]], tmp_path: Path
) -> None:
    file = written(tmp_path, *ORDINARY, NEAR, memory[0]["request"]["prompt"])
    plot = tmp_path / "recall.svg"
    ran = run("scope", "calibrate", file, "--false-alarms", "0.02", "--plot", plot)
    assert ran.code == 0, ran.err
    assert "rephrases fire" in ran.out and "in force" in ran.out and NEAR in ran.out
    assert "1 ordinary prompts are word for word stored" in ran.out
    assert re.search(r"leave room for up to 0\.\d+, at 95%", ran.out)
    assert "scope.threshold = " in ran.out and "MEMEDIT_SCOPE__THRESHOLD=" in ran.out
    assert "<svg" in plot.read_text(encoding="utf-8") and str(plot) in ran.out


@pytest.mark.parametrize(
    ("records", "options", "said"),
    [
        ([], (), "holds no ordinary prompts"),
        ([{"prompt": "x", "should_fire": True}], (), "holds no ordinary prompts"),
        (["fine", {"prompt": "x", "edit": "e-nothing"}], (), "line 2: the edit 'e-nothing'"),
        ([{"prompt": "x", "edit": 7}], (), "line 1: the edit 7 is not live"),
        ([{"prompt": "x", "should_fire": "yes"}], (), "line 1: should_fire is 'yes'"),
        ([{"question": "x"}], (), 'line 1: expected {"prompt": "text"}'),
        (["{broken"], (), "line 1 is not valid JSON"),
        (["x"], ("--namespace", "other"), "no edit is live in the namespaces other"),
        (["x"], ("--memory", "sqlite:///none.db"), "there is no edit memory"),
        (["x"], ("--classifier", "cosin"), "Did you mean 'cosine'"),
        (["x"], ("--plot", "recall.gif"), "cannot draw 'gif'"),
        (["x"], ("--false-alarms", "1.5"), "0.99"),
    ],
)
def test_what_cannot_be_used_is_said(
    run: Run,
    memory: list[dict[str, Any]],
    tmp_path: Path,
    records: list[object],
    options: tuple[str, ...],
    said: str,
) -> None:
    ran = run("scope", "calibrate", written(tmp_path, *records), *options, "--json")
    assert ran.code in (1, 2) and not ran.out
    assert said in ran.error["message"]


def test_an_edit_that_contradicts_its_expectation_is_said(
    run: Run, memory: list[dict[str, Any]], tmp_path: Path
) -> None:
    record = {"prompt": "x", "edit": memory[0]["id"], "should_fire": False}
    ran = run("scope", "calibrate", written(tmp_path, record), "--json")
    assert ran.code == 1 and "which?" in ran.error["message"]


def test_expired_edits_are_not_expected_to_fire(run: Run, added: Any, tmp_path: Path) -> None:
    old = ("The king of Marovia is", "Ansa", "--subject", "Marovia", "--valid-to", "2020-01-01")
    run("add", *old)
    found = run("scope", "calibrate", written(tmp_path, *ORDINARY), "--json").json
    assert found["edits"] == 1 and found["in_force"]["fires"]["own prompts"]["n"] == 1
    assert any("which says little" in note for note in found["notes"])


def test_training_without_the_benchmarks_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    result = run("scope", "train", "--data", str(data), "--out", str(tmp_path / "out"))
    assert result.code == 1
    assert "knowedit" in result.err
    assert not (tmp_path / "out" / "pair.json").exists()


def test_what_is_asked_of_training_is_its_recipe(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Recipe] = []
    monkeypatch.setattr(
        "memedit.scope.training.rounds.train", lambda _, __, recipe, *___: seen.append(recipe)
    )
    held_out = {"accuracy": 0.5, "expected_calibration_error": 0.25}
    monkeypatch.setattr(
        "memedit.scope.training.finish.finish",
        lambda *_: {"held_out": held_out, "threshold": 0.5},
    )
    command = ("scope", "train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--json")
    assert run(*command).code == 0
    given = ("--seed", "20", "--steps", "5", "--rounds", "3", "--batch", "9")
    assert run(*command, *given).json["out"] == str(tmp_path / "out")
    assert seen == [Recipe(), Recipe(steps=5, rounds=3, batch=9, seed=20)]
