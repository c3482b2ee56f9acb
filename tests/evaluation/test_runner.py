"""The runner on a table of answers: what is scored, when, and how a broken-off run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memedit.errors import ConflictError, DatasetError, InvalidInputError, SettingsError
from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.evaluation.questions import GENERAL, Amounts, questions_of
from memedit.evaluation.rows import Row
from memedit.evaluation.run_folder import RunFolder
from memedit.evaluation.runner import ADDED, AGE, SECONDS, Runner, run_settings
from memedit.evaluation.settings import Mode, Setting
from memedit.evaluation.treatments import Among, Plain, Session, Unedited
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES, LANDS, Overwrite, Table

AMOUNTS = Amounts(general=1, fluent=2)


def runner_in(
    folder: Path,
    model: Table,
    *,
    setting: str = "single",
    cases: tuple[EditCase, ...] = CASES,
    **manifest: Any,
) -> Runner:
    named = manifest.pop("about", setting)
    about = {"methods": ["none", "overwrite"], "setting": named, "model": "m", **manifest}
    base = BaseAnswers(model, folder / "answers.jsonl")
    return Runner(
        RunFolder(folder / "run", about), base, model, cases, Setting.parse(setting), AMOUNTS
    )


class Flood(Overwrite):
    """Gives the same long answer to everything."""

    @contextmanager
    def session(self, edits: Sequence[Sequence[EditRequest]], mode: Mode) -> Iterator[Session]:
        with super().session(edits, mode) as session:
            self.model.facts = dict.fromkeys(self.model.facts, "all one " * 9)
            yield session


def run(runner: Runner, treatment: Overwrite, **more: Any) -> list[Row]:
    unedited = Unedited(runner.base, runner.model)
    methods = [("none", lambda: unedited), ("overwrite", lambda: treatment)]
    return runner.run(methods, **more)  # type: ignore[arg-type]


def values(
    rows: list[Row], method: str = "overwrite"
) -> dict[tuple[str, str | None], tuple[float, int]]:
    return {
        (row.metric, row.scoring): (row.value, row.n)
        for row in rows
        if row.method == method and row.kind == ""
    }


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


def test_a_sequence_is_scored_at_its_end_so_that_forgetting_shows(tmp_path: Path) -> None:
    model = Table()
    rows = run(runner_in(tmp_path, model, setting="sequential:6"), Overwrite(model, keeps=2))
    assert values(rows)["edit_success", "generated"] == (pytest.approx(2 / 6), 6)
    by_age = {
        row.kind: row.value
        for row in rows
        if row.method == "overwrite" and row.metric == AGE and row.scoring == "generated"
    }
    assert by_age.pop("") == pytest.approx(2 / 6)
    assert list(by_age) == sorted(by_age)
    assert [by_age[kind] for kind in sorted(by_age)] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


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


def test_what_an_edit_costs_is_no_score_and_has_an_interval_where_there_is_one(
    tmp_path: Path,
) -> None:
    def costs(setting: str, at_once: int) -> dict[tuple[str, str], Row]:
        model = Table()
        treatment = Overwrite(model)
        treatment.at_once = at_once
        rows = run(runner_in(tmp_path / f"{setting} {at_once}", model, setting=setting), treatment)
        assert {row.scoring for row in rows if row.metric in (SECONDS, ADDED)} <= {None}
        return {(row.metric, row.task): row for row in rows if row.metric in (SECONDS, ADDED)}

    apart = costs("single", 1)
    assert set(apart) == {(SECONDS, "toy"), (SECONDS, "")}, "the table's memory is not measured"
    own = apart[SECONDS, "toy"]
    assert (own.value, own.low, own.high, own.n) == (0.5, 0.5, 0.5, 6)
    for setting, at_once in (("single", 4), ("batch", 1), ("sequential:6", 1)):
        together = costs(setting, at_once)
        assert set(together) == {(SECONDS, "")}, "a mean is not copied to the cases it is of"
        row = together[SECONDS, ""]
        assert (row.value, row.low, row.high, row.n) == (0.5, None, None, 6)


def test_several_settings_are_one_run(tmp_path: Path) -> None:
    model = Table()
    settings = ("sequential:2", "sequential:6", "single")
    first = runner_in(tmp_path, model, setting=settings[0], about=",".join(settings))
    runners = [replace(first, setting=Setting.parse(one)) for one in settings]
    treatment, made = Overwrite(model, keeps=2), []
    unedited = Unedited(first.base, model)

    def make() -> Overwrite:
        made.append(treatment)
        return treatment

    seen: list[tuple[int, int]] = []
    rows = run_settings(
        runners,
        [("none", lambda: unedited), ("overwrite", make)],  # type: ignore[list-item]
        lambda done, total: seen.append((done, total)),
    )
    assert made == [treatment], "made once for all settings"
    assert seen[-1] == (28, 28)
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    answers = [json.loads(line)[0] for line in lines]
    assert len(answers) == len({tuple(key) for key in answers}), "the base is asked once"
    success = {
        row.setting: (row.value, row.n)
        for row in rows
        if (row.method, row.metric, row.scoring) == ("overwrite", "edit_success", "generated")
    }
    assert success == {
        "sequential:2": (1.0, 2),
        "sequential:6": (pytest.approx(2 / 6), 6),
        "single": (1.0, 6),
    }
    ages = {
        setting: sorted(
            row.kind
            for row in rows
            if row.metric == AGE and row.kind and row.scoring == "generated"
            if (row.method, row.setting) == ("overwrite", setting)
        )
        for setting in settings
    }
    assert ages["sequential:2"] == ["0-0 edits later", "1-1 edits later"]
    assert len(ages["sequential:6"]) == 6 and ages["single"] == []
    far: dict[tuple[str, str], set[str]] = {}
    for one in first.folder.scored():
        if one.metric == GENERAL:
            far.setdefault((one.method, one.case), set()).add(one.prompt)
    assert all(len(prompts) == 1 for prompts in far.values()), "each setting asks the same"
    assert json.loads((tmp_path / "run" / "rows.json").read_text()) == [
        row.as_record() for row in rows
    ]


def test_a_batch_has_all_edits_in_force_at_once(tmp_path: Path) -> None:
    model = Table()
    treatment = Overwrite(model)
    rows = run(runner_in(tmp_path, model, setting="batch"), treatment)
    assert values(rows)["edit_success", "generated"] == (1.0, 6)
    [line] = (tmp_path / "run" / "cost.jsonl").read_text().splitlines()
    cost = json.loads(line)
    assert (cost["method"], cost["edits"], cost["seconds"]) == ("overwrite", 6, 3.0)


def test_all_edits_are_in_force_while_some_cases_are_asked_about(tmp_path: Path) -> None:
    model = Table()
    few = runner_in(tmp_path, model, setting="batch", cases=CASES[1:5:3])
    runner = replace(few, company=CASES)
    treatment = Overwrite(model)
    rows = run(runner, treatment)
    assert treatment.cost.edits == 6
    assert values(rows)["edit_success", "generated"] == (1.0, 2)


def test_whose_edits_fired_is_told_by_the_cases_that_are_asked_about() -> None:
    class Fires(Plain):
        def fired(
            self, prompts: Sequence[str], owners: Sequence[int]
        ) -> list[frozenset[int] | None]:
            return [frozenset({owner, 3}) for owner in owners]

    among = Among(Fires(Table()), [4, 1])
    assert among.fired(["a", "b"], [0, 1]) == [frozenset({0, -1}), frozenset({1, -1})]


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
    with pytest.raises(SettingsError, match='another setting: "single", not "batch"'):
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


def test_far_questions_are_other_subjects_and_drawn_the_same_way_every_time() -> None:
    asked = questions_of(CASES, Amounts(general=2, fluent=3))
    assert asked == questions_of(CASES, Amounts(general=2, fluent=3))
    assert asked != questions_of(CASES, Amounts(general=2, fluent=3, seed=1))
    for one in asked:
        far = [question.probe for question in one.questions if question.metric == GENERAL]
        assert len(far) == 2
        assert not any(one.case.requests[0].subject in probe.prompt for probe in far)
    assert [one.fluent for one in asked] == [True, False, True, False, True, False]


def test_far_questions_name_no_subject_that_is_edited_where_there_are_such() -> None:
    far = ("The moon of Orvel's king is", "The sea is", "The sky over Tamsins is")
    cases = tuple(
        replace(
            case,
            probes=(
                *case.probes,
                Probe(Metric.LOCALITY, "Out_Of_Distribution", far[place % 3], ("so",)),
            ),
        )
        for place, case in enumerate(CASES)
    )
    asked = questions_of(cases[:2], Amounts(general=3), among=cases)
    drawn = {q.probe.prompt for one in asked for q in one.questions if q.metric == GENERAL}
    assert drawn == set(far[1:]), "Orvel is edited"
    other = replace(
        CASES[0], requests=(EditRequest(prompt="The sea", subject="sea", target_new="b"),)
    )
    asked = questions_of(cases[:2], Amounts(general=3), among=cases, edited=[other])
    drawn = {q.probe.prompt for one in asked for q in one.questions if q.metric == GENERAL}
    assert drawn == {far[2]}


def test_fluency_is_asked_of_every_task() -> None:
    tasks = ("a", "b", "c")
    cases = tuple(replace(case, task=tasks[n % 3]) for n, case in enumerate(CASES))
    asked = questions_of(cases, Amounts(general=0, fluent=3))
    assert [one.case.task for one in asked if one.fluent] == list(tasks)


def test_a_run_with_other_demonstrations_is_another_run_and_an_older_one_goes_on(
    tmp_path: Path,
) -> None:
    model = Table()
    runner_in(tmp_path, model)  # says nothing of demonstrations
    runner_in(tmp_path, model, incontext={"max_demonstrations": 32})
    with pytest.raises(SettingsError, match="another incontext"):
        runner_in(tmp_path, model, incontext={"max_demonstrations": 8})
