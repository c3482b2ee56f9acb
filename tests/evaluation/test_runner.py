"""The runner on a table of answers: what is scored, when, and how a broken-off run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memedit.errors import ConflictError, DatasetError, InvalidInputError, SettingsError
from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.questions import GENERAL
from memedit.evaluation.run_folder import RunFolder
from memedit.evaluation.runner import SECONDS
from tests.evaluation.toy_facts import LANDS, Overwrite, Table
from tests.evaluation.toy_runs import Flood, run, runner_in, values


def test_single_edits(tmp_path: Path) -> None:
    model = Table()
    before = model.fingerprint
    runner = runner_in(tmp_path, model)
    treatment = Overwrite(model)
    seen: list[tuple[int, int]] = []
    rows = run(runner, treatment, progress=lambda done, total: seen.append((done, total)))
    edited, unedited = values(rows), values(rows, "none")
    assert edited["edit_success", "generated"] == (1.0, 6)
    assert unedited["edit_success", "generated"] == (0.0, 6)
    assert edited["locality", "generated"] == unedited["locality", "generated"] == (1.0, 6)
    assert edited["edit_success", "teacher_forced"] == (1.0, 6)
    assert 0 < unedited["edit_success", "teacher_forced"][0] < 1
    assert edited[GENERAL, "generated"] == (1.0, 6)
    assert edited[f"{GENERAL}_kept", "generated"] == (1.0, 6)
    assert edited["tokens_added", None] == (0.0, 6)
    assert edited["fluency", "generated"][1] == unedited["fluency", "generated"][1] == 2
    assert edited[SECONDS, None] == (0.5, 6)
    assert (SECONDS, None) not in unedited
    assert model.fingerprint == before
    assert seen[0] == (0, 12) and seen[-1] == (12, 12) and seen == sorted(seen)
    written = json.loads((tmp_path / "run" / "rows.json").read_text())
    assert written == [row.as_record() for row in rows]


def test_the_score_before_stands_beside_the_score_after(tmp_path: Path) -> None:
    """Of a model that knows half of the rivers, edited by a method that floods all of them."""
    model = Table()
    for land in LANDS[:3]:
        model.facts[f"The river of {land} is the"] = "I don't know."
    treatment = Flood(model)
    runner = runner_in(tmp_path, model)
    rows = runner.run([("overwrite", lambda: treatment)])  # type: ignore[list-item]
    asked = [one for one in runner.folder.scored() if one.metric == GENERAL]
    knew = [one for one in asked if one.base_said == one.expected[0]]
    assert 0 < len(knew) < len(asked)
    found = values(rows)
    assert found[GENERAL, "generated"] == (0.0, 6)
    assert found[f"{GENERAL}_before", "generated"] == (pytest.approx(len(knew) / 6), 6)
    before, after = found["fluency_before", "generated"], found["fluency", "generated"]
    assert before[1] == after[1] == 2 and before[0] != after[0]


def test_a_run_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    model = Table()

    def broken_off(done: int, total: int) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(runner_in(tmp_path, model), Overwrite(model), progress=broken_off)
    scored = tmp_path / "run" / "scored.jsonl"
    whole = scored.read_text()
    with scored.open("a") as file:  # of a case that was not finished, and then half a line
        file.write(whole.splitlines()[-1].replace("toy[Valdoria]", "toy[Orvel]") + "\n")
        file.write('{"method": "overwr')
    again = Overwrite(model)
    model.asked.clear()
    rows = run(runner_in(tmp_path, model), again)
    assert again.cost.edits == 3
    assert not any("capital of Quendoria" in prompt for prompt in model.asked)
    model = Table()
    straight = run(runner_in(tmp_path / "other", model), Overwrite(model))
    assert rows == straight
    finished = Overwrite(Table())
    assert run(runner_in(tmp_path, Table()), finished) == rows
    assert finished.cost.edits == 0


def test_more_methods_may_be_added_but_nothing_else_may_differ(tmp_path: Path) -> None:
    model = Table()
    run(runner_in(tmp_path, model), Overwrite(model))
    more = runner_in(tmp_path, model, methods=["another"])
    assert more.folder.manifest["methods"] == ["none", "overwrite", "another"]
    with pytest.raises(SettingsError, match="another setting: single, not batch"):
        runner_in(tmp_path, model, setting="batch")
    with pytest.raises(SettingsError, match="another form"):
        runner_in(tmp_path, model, form="chat")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "scored.jsonl").write_text("mine\n")
    with pytest.raises(DatasetError, match="no folder of a run"):
        RunFolder(folder, {"methods": []})
    assert (folder / "scored.jsonl").read_text() == "mine\n"


def test_a_method_that_leaves_a_trace_is_an_error(tmp_path: Path) -> None:
    model = Table()
    treatment = Overwrite(model)
    treatment.leaves_a_trace = True
    with pytest.raises(ConflictError, match="left the model changed"):
        run(runner_in(tmp_path, model), treatment)


def test_an_edit_that_is_refused_counts_as_failed_and_is_named(tmp_path: Path) -> None:
    model = Table()
    runner = runner_in(tmp_path, model)
    rows = run(runner, Overwrite(model, refuses=LANDS[2]))
    assert values(rows)["edit_success", "generated"] == (pytest.approx(5 / 6), 6)
    [note] = runner.folder.manifest["not_scored"]
    assert note["n"] == 1 and "will not edit Valdoria" in note["reason"]
    with pytest.raises(InvalidInputError, match="will not edit"):
        run(
            runner_in(tmp_path / "batch", model, setting="batch"),
            Overwrite(model, refuses=LANDS[2]),
        )


def test_a_model_without_scores_is_said_to_have_none(tmp_path: Path) -> None:
    model = Table(scores=False)
    runner = runner_in(tmp_path, model)
    rows = run(runner, Overwrite(model))
    assert {row.scoring for row in rows} == {"generated", None}
    notes = {note["what"]: note for note in runner.folder.manifest["not_scored"]}
    assert notes["overwrite: teacher-forced scores"]["n"] == 12


def test_the_unedited_model_is_never_asked_while_it_is_edited(tmp_path: Path) -> None:
    base = BaseAnswers(Table())
    base.generate(["The capital of Orvel is"], 8)
    base.sealed = True
    assert base.generate(["The capital of Orvel is"], 8)[0].text == "Old Orvel"
    with pytest.raises(ConflictError, match="before it was edited"):
        base.generate(["The river of Orvel is the"], 8)


def test_unedited_answers_are_kept_between_runs(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    first = Table()
    kept = BaseAnswers(first, file)
    said = kept.generate(["The capital of Orvel is"] * 2, 8)
    fed = kept.score(["The capital of Orvel is"], ["Old"])
    assert first.asked == ["The capital of Orvel is"]
    with file.open("a") as torn:
        torn.write('[["said", "8"')
    second = Table()
    again = BaseAnswers(second, file)
    assert again.generate(["The capital of Orvel is"] * 2, 8) == said
    assert again.score(["The capital of Orvel is"], ["Old"]) == fed
    assert second.asked == []
    again.generate(["The river of Orvel is the"], 8)
    third = Table()
    BaseAnswers(third, file).generate(["The river of Orvel is the"], 8)
    assert third.asked == []
    BaseAnswers(third, file).generate(["The river of Orvel is the"], 9)
    assert third.asked == ["The river of Orvel is the"]


def test_a_run_with_other_demonstrations_is_another_run_and_an_older_one_goes_on(
    tmp_path: Path,
) -> None:
    model = Table()
    runner_in(tmp_path, model)  # says nothing of demonstrations
    runner_in(tmp_path, model, incontext={"max_demonstrations": 32})
    with pytest.raises(SettingsError, match=r"another incontext\.max_demonstrations: 32, not 8\."):
        runner_in(tmp_path, model, incontext={"max_demonstrations": 8})
