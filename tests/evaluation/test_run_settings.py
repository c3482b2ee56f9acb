"""The runner in its settings: batches, sequences, several in one run, and what edits cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from memedit.evaluation.cases import Metric, Probe
from memedit.evaluation.questions import GENERAL
from memedit.evaluation.rows import Row
from memedit.evaluation.runner import ADDED, AGE, SECONDS, run_settings
from memedit.evaluation.settings import Setting
from memedit.evaluation.treatments import Among, Plain, Unedited
from memedit.memory.inverse import inverse_of
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES, LANDS, Overwrite, Table, case_of
from tests.evaluation.toy_runs import run, runner_in, values

NAMES = ("Ansa", "Bera", "Culo", "Dine", "Ergo", "Fola")


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


def test_a_sequence_goes_on_without_what_is_refused_and_says_so(tmp_path: Path) -> None:
    model = Table()
    runner = runner_in(tmp_path, model, setting="sequential:6")
    rows = run(runner, Overwrite(model, refuses=LANDS[4]))
    assert values(rows)["edit_success", "generated"] == (pytest.approx(5 / 6), 6)
    [note] = runner.folder.manifest["not_scored"]
    assert (note["n"], note["what"]) == (1, "overwrite: of 6 cases' edits")
    assert "(toy[Tamsin]); the first one: will not edit Tamsin" in note["reason"]
    ages = {one.case: one.age for one in runner.folder.scored() if one.method == "overwrite"}
    made = [case.id for case in runner.setting.chosen(CASES) if case.id != "toy[Tamsin]"]
    assert ages.pop("toy[Tamsin]") is None, "an edit that was not made has no age"
    assert ages == dict(zip(reversed(made), range(5), strict=True))


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
    assert (own.value, own.low, own.high, own.n) == (0.5, None, None, 6), "all took the same"
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
    assert ages["sequential:2"] == ["0 edits later", "1 edits later"]
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


def test_locality_is_told_without_prompts_that_other_edits_in_force_change(tmp_path: Path) -> None:
    """Every case asks of the next land's capital, which in a batch another case edits."""
    cases = tuple(
        replace(
            case,
            probes=(
                *case.probes,
                Probe(Metric.LOCALITY, "next", f"The capital of {land} is", (f"Old {land}",)),
            ),
        )
        for case, land in zip(map(case_of, LANDS, NAMES), (*LANDS[1:], LANDS[0]), strict=True)
    )
    found = {}
    for setting in ("single", "batch"):
        model = Table()
        runner = runner_in(tmp_path / setting, model, setting=setting, cases=cases)
        of = values(run(runner, Overwrite(model)))
        for scoring in ("generated", "teacher_forced"):
            found[setting, scoring] = of["locality", scoring], of["locality_cleaned", scoring]
    assert found["single", "generated"] == ((1.0, 12), (1.0, 12))
    assert found["batch", "generated"] == ((pytest.approx(0.5), 12), (1.0, 6))
    assert found["batch", "teacher_forced"][0][0] < found["batch", "teacher_forced"][1][0] == 1.0


def test_so_is_what_is_to_stay_while_other_facts_are_erased(tmp_path: Path) -> None:
    """Every case retains the next land's capital, which another case edits, and what none does."""
    cases = []
    for case, land in zip(map(case_of, LANDS, NAMES), (*LANDS[1:], LANDS[0]), strict=True):
        [left] = [one for one in case.probes if one.metric is Metric.LOCALITY]
        kept = (
            replace(left, metric=Metric.RETENTION, kind=""),
            Probe(Metric.RETENTION, "", f"The capital of {land} is", (f"Old {land}",)),
        )
        cases.append(replace(case, probes=(*case.probes, *kept)))
    model = Table()
    alone = runner_in(tmp_path / "1", model, cases=tuple(cases))
    assert ("retention_cleaned", "generated") not in values(run(alone, Overwrite(model)))
    model = Table()
    batch = runner_in(tmp_path / "2", model, setting="batch", cases=tuple(cases))
    of = values(run(batch, Overwrite(model)))
    assert of["retention", "generated"] == (pytest.approx(0.5), 2 * len(cases))
    assert of["retention_cleaned", "generated"] == (1.0, len(cases))


def test_so_are_prompts_that_ask_what_an_edit_implies(tmp_path: Path) -> None:
    town = LANDS[1]
    asked = Probe(Metric.LOCALITY, "other", f"{town} is the capital of", ("?",))
    ruled = case_of(LANDS[0], town)
    cases = (replace(ruled, probes=(*ruled.probes, asked)), case_of(LANDS[2]))
    for implied, n in ((inverse_of, 1), (lambda edit: None, 2)):
        model = Table()
        runner = runner_in(tmp_path / str(n), model, setting="batch", cases=cases)
        of = values(run(replace(runner, implied=implied), Overwrite(model)))
        assert of["locality_cleaned", "generated"] == (1.0, n)


def test_where_edits_in_force_contradict_each_other_their_prompts_can_be_left_out(
    tmp_path: Path,
) -> None:
    """Two cases edit one land's capital; the last one's further hop is edited by another."""
    first = case_of(LANDS[0])
    again = case_of(LANDS[0], "Elsewhere")
    hop = Probe(Metric.PORTABILITY, "Reasoning", f"The river of {LANDS[3]} is the", ("Wide One",))
    last = replace(case_of(LANDS[2], LANDS[3]), probes=(*case_of(LANDS[2], LANDS[3]).probes, hop))
    river = EditRequest(
        prompt=f"The river of {LANDS[3]} is the", subject=LANDS[3], target_new="Long One",
        ground_truth="Wide One",
    )  # fmt: skip
    moved = replace(case_of(LANDS[3]), requests=(river,), probes=(), id="toy[river]")
    cases = (first, replace(again, id="toy[again]"), case_of(LANDS[1]), last, moved)
    found = {}
    for setting in ("single", "batch"):
        model = Table()
        runner = runner_in(tmp_path / setting, model, setting=setting, cases=cases)
        found[setting] = values(run(runner, Overwrite(model)))
    assert found["batch"]["edit_success", "generated"] == (pytest.approx(3 / 4), 4)
    assert found["batch"]["edit_success_cleaned", "generated"] == (1.0, 2)
    assert found["batch"]["edit_success_cleaned", "teacher_forced"] == (1.0, 2)
    assert found["batch"]["portability", "generated"] == (0.0, 1)
    assert ("portability_cleaned", "generated") not in found["batch"]
    assert ("edit_success_cleaned", "generated") not in found["single"]
