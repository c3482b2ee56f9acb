"""The demo's judgement: every answer that is not as it should be is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.question import Answer
from memedit.cli.scenes import Kind, SceneQuestion, Script, agrees, judge
from memedit.errors import DatasetError, MissingResourceError
from tests.cli.knowing_model import SCENES

EDITED = SceneQuestion(kind=Kind.EDITED, ask="capital?", before="Oldcastle", after="Lindhaven")
UNRELATED = SceneQuestion(kind=Kind.UNRELATED, ask="legs?", before="Eight", after="Eight")


def answer(text: str, route: str = "pass") -> Answer:
    return Answer(text, "m", {"route": route})


OLD, NEW, EIGHT = (
    answer("It is Oldcastle."),
    answer("It is Lindhaven.", "in_context"),
    answer("Eight."),
)


def test_answers_as_they_should_be_have_no_fault() -> None:
    assert judge("s", EDITED, OLD, OLD, NEW, OLD).ok
    assert judge("s", UNRELATED, EIGHT, EIGHT, EIGHT, EIGHT).ok


@pytest.mark.parametrize(
    ("question", "answers", "fault"),
    [
        (EDITED, (answer("Elsewhere."), answer("Elsewhere."), NEW, answer("Elsewhere.")), "before"),
        (EDITED, (OLD, OLD, answer("It is Oldcastle.", "in_context"), OLD), "after: expected"),
        (EDITED, (OLD, OLD, answer("It is Lindhaven."), OLD), "after: route pass"),
        (EDITED, (OLD, OLD, NEW, NEW), "retracted"),
        (EDITED, (OLD, OLD, NEW, answer("It is oldcastle.")), "byte for byte"),
        (EDITED, (answer("Oldcastle"), OLD, NEW, OLD), "without the proxy"),
        (EDITED, (OLD, answer("It is Oldcastle.", "in_context"), NEW, OLD), "before: route"),
        (UNRELATED, (EIGHT, EIGHT, answer("Eight!"), EIGHT), "unrelated answer changed"),
        (UNRELATED, (EIGHT, EIGHT, answer("Eight.", "in_context"), EIGHT), "after: route"),
        (UNRELATED, (EIGHT, EIGHT, answer("Nine."), EIGHT), "after: expected"),
    ],
)
def test_every_wrong_answer_is_found_out(
    question: SceneQuestion, answers: tuple[Answer, Answer, Answer, Answer], fault: str
) -> None:
    row = judge("s", question, *answers)
    assert not row.ok
    assert any(fault in found for found in row.faults), row.faults


@pytest.mark.parametrize(
    ("said", "expected", "same"),
    [
        ("It is Lindhaven.", "Lindhaven", True),
        (" lindhaven", "Lindhaven.", True),
        ("Lindhavenshire", "Lindhaven", False),
        ("New Port, of course", "New Port", True),
        ("New, Port?", "New Port", True),
        ("", "Lindhaven", False),
        ("Ærø", "ærø", True),
    ],
)
def test_an_answer_says_the_expected_words(said: str, expected: str, same: bool) -> None:
    assert agrees(said, expected) is same


def write(folder: Path, script: Any) -> Path:
    file = folder / "demo.json"
    file.write_text(json.dumps(script), encoding="utf-8")
    return file


def test_scripts_are_read_or_refused_with_the_place(tmp_path: Path) -> None:
    [scene] = Script.read(write(tmp_path, SCENES)).scenes
    assert [question.kind for question in scene.questions] == list(Kind)
    with pytest.raises(MissingResourceError, match="absent"):
        Script.read(tmp_path / "absent.json")
    with pytest.raises(DatasetError, match="not valid JSON"):
        (tmp_path / "broken.json").write_text("{")
        Script.read(tmp_path / "broken.json")
    with pytest.raises(DatasetError, match="scenes"):
        Script.read(write(tmp_path, {"scenes": []}))


def test_a_script_cannot_expect_nothing(tmp_path: Path) -> None:
    lazy = json.loads(json.dumps(SCENES))
    lazy["scenes"][0]["questions"][0]["after"] = "Oldcastle"
    with pytest.raises(DatasetError, match=r"scenes\.0\.questions\.0.*every other one changes"):
        Script.read(write(tmp_path, lazy))


def test_the_reference_models_scenes_show_every_kind(repository: Path) -> None:
    file = repository / "examples" / "atlas" / "data" / "demo.json"
    if not file.exists():
        pytest.skip("the reference model has no scenes yet")
    for scene in Script.read(file).scenes:
        assert {question.kind for question in scene.questions} == set(Kind), scene.name
