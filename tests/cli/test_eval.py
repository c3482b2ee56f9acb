"""``memedit eval``: a tiny checkpoint measured for real, and what cannot be measured said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.cli.conftest import Ran, Run

RECORDS = [
    {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": new,
        "ground_truth": "Oldcastle",
        "rephrase_prompt": f"Which city is the capital of {land}?",
        "portability": {},
        "locality": {
            "Relation_Specificity": [{"prompt": f"The river of {land} is", "ground_truth": "Wide"}]
        },
    }
    for land, new in (("Quendoria", "Lindhaven"), ("Marovia", "Port Amsel"), ("Orvel", "Brand"))
]
FEW = ("--max-tokens", 4, "--fluency", 1, "--analysis", 0, "--device", "cpu")


def _error(ran: Ran) -> str:
    """Return the error's message: the last line, after what the data set holds."""
    return str(json.loads(ran.err.splitlines()[-1])["error"]["message"])


@pytest.fixture
def data(tmp_path: Path) -> str:
    file = tmp_path / "toy_test.json"
    file.write_text(json.dumps(RECORDS))
    return f"knowedit:{file}"


def test_rows_of_several_methods(
    run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    arguments = ("eval", "--dataset", data, "--model", tiny_checkpoint, "--cache", kept, *FEW)
    methods = ("--method", "none,ice,statement+always,ft-m")
    ran = run(*arguments, *methods, "--json")
    assert ran.code == 0, ran.err
    assert "3 records, 3 cases, 3 edits" in ran.err
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in ran.json:
        assert list(row) == [
            *("method", "task", "setting", "metric", "kind", "scoring"),
            *("value", "low", "high", "n"),
        ]
        assert row["scoring"] in ("generated", "teacher_forced")
        assert row["setting"] == "single"
        if row["low"] is None:  # of one case, of equals, and of no mean over cases: not known
            assert row["high"] is None
        else:
            assert row["low"] <= row["value"] <= row["high"] and row["low"] < row["high"]
        if row["metric"] == "added_bytes":  # the most of all edits: no mean over cases
            assert row["low"] is None
        if not row["kind"]:
            found[row["method"], row["metric"], row["scoring"]] = row
    assert {key[0] for key in found} == {"none", "ice", "statement+always", "ft-m"}
    for method in ("none", "ice", "statement+always", "ft-m"):
        for metric in ("edit_success", "generality", "locality"):
            for scoring in ("generated", "teacher_forced"):
                assert found[method, metric, scoring]["n"] == 3
    assert found["none", "locality", "generated"]["value"] == 1
    forced = {
        method: found[method, "edit_success_log_probability", "teacher_forced"]["value"]
        for method in ("none", "ft-m")
    }
    assert forced["ft-m"] > forced["none"]
    assert found["ice", "edit_success_fired", "generated"]["value"] == 1
    assert found["ice", "edit_success_right_edit", "generated"]["value"] == 1
    assert found["statement+always", "locality_fired", "generated"]["value"] == 1
    assert found["ice", "locality_fired", "generated"]["value"] < 1
    assert found["ft-m", "seconds_per_edit", "generated"]["value"] > 0
    assert found["statement+always", "tokens_added", "generated"]["value"] > 20
    tasks = {
        method: {
            row["task"]
            for row in ran.json
            if row["method"] == method and row["metric"] == "seconds_per_edit"
        }
        for method in ("ice", "ft-m")
    }
    assert tasks == {"ice": {""}, "ft-m": {"", "toy"}}, "ice stores all at once"
    for method in ("ice", "ft-m"):  # though none says what it was, too
        for metric in ("general_ability", "fluency"):
            before = found[method, f"{metric}_before", "generated"]["value"]
            assert before == found["none", metric, "generated"]["value"]
    [answers] = kept.iterdir()
    before = answers.read_bytes()
    again = run(*arguments, "--method", "none", "--json")
    assert answers.read_bytes() == before
    assert again.json == [row for row in ran.json if row["method"] == "none"]


def test_a_report_and_a_second_run_in_its_folder(
    run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    report = tmp_path / "out"
    arguments = ("eval", "--dataset", data, "--model", tiny_checkpoint, "--report", report, *FEW)
    first = run(*arguments, "--method", "none", "--setting", "batch", "--limit", 2)
    assert first.code == 0, first.err
    assert "edit_success" in first.out and "setting batch" in first.out
    html = (report / "report.html").read_text(encoding="utf-8")
    assert "edit" in html.lower()
    manifest = json.loads((report / "manifest.json").read_text())
    assert manifest["dataset"]["cases"] == 2 and manifest["finished"]
    scored = (report / "scored.jsonl").read_bytes()
    second = run(*arguments, "--method", "none", "--setting", "batch", "--limit", 2)
    assert second.code == 0 and (report / "scored.jsonl").read_bytes() == scored
    other = run(*arguments, "--method", "none", "--setting", "single", "--limit", 2, "--json")
    assert other.code == 2
    assert "another setting" in _error(other)


def test_sequences_of_several_lengths_are_one_run_and_one_picture(
    run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    report = tmp_path / "out"
    picture = "All edits of a sequence are asked at its end"
    arguments = ("eval", "--dataset", data, "--model", tiny_checkpoint, "--report", report, *FEW)
    arguments += ("--method", "none,ft-m")
    lengths = ("sequential:1", "sequential:3", "single")
    ran = run(*arguments, "--setting", ",".join(lengths), "--json")
    assert ran.code == 0, ran.err
    assert "sequential:1: 1 edits of 1 cases (1 toy)" in ran.err
    n = {
        row["setting"]: row["n"]
        for row in ran.json
        if row["metric"] == "edit_success" and row["scoring"] == "generated" and not row["kind"]
    }
    assert n == dict(zip(lengths, (1, 3, 3), strict=True))
    html = (report / "report.html").read_text(encoding="utf-8")
    assert picture in html and "edits in the sequence" in html
    for setting in lengths:
        assert setting in html and setting in (report / "report.md").read_text(encoding="utf-8")
    scored = (report / "scored.jsonl").read_bytes()
    again = run(*arguments, "--setting", ",".join(lengths))
    assert again.code == 0 and (report / "scored.jsonl").read_bytes() == scored
    assert "setting sequential:1, sequential:3, single" in again.out
    one = (*arguments[:-4], *FEW, "--method", "none", "--report", tmp_path / "one")
    alone = run(*one, "--setting", "sequential:3")
    assert alone.code == 0, alone.err
    assert picture not in (tmp_path / "one" / "report.html").read_text(encoding="utf-8")


def test_a_report_beside_an_earlier_one(
    run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ("eval", "--dataset", data, "--model", tiny_checkpoint, *FEW, "--method", "none")
    earlier, now = tmp_path / "earlier", tmp_path / "now"
    first = run(*arguments, "--setting", "batch,sequential:1", "--report", earlier)
    assert first.code == 0, first.err
    second = ("--setting", "batch,sequential:2", "--general", 1, "--report", now)
    ran = run(*arguments, *second, "--compare", earlier)
    assert ran.code == 0, ran.err
    html = (now / "report.html").read_text(encoding="utf-8")
    text = (now / "report.md").read_text(encoding="utf-8")
    for shown in (html, text):
        assert "Compared with an earlier run" in shown and str(earlier) in shown
        assert "sequential:2 only in this run; sequential:1 only in the earlier one" in shown
        assert "Only rows of batch are compared" in shown
        assert "general now 1, earlier 2" in shown
        assert "models differ" not in shown and "cases differ" not in shown
    compared = text.split("## Compared")[1].split("rows only in this run")[0]
    lines = [line for line in compared.splitlines() if line.startswith("| toy | ")]
    assert lines and all(line.startswith("| toy | batch | ") for line in lines)
    [success] = [line for line in lines if "| generated | Edit success | none |" in line]
    assert success.endswith("| ±0.000 |"), "the same model says the same"


@pytest.mark.parametrize("setting", ["single", "sequential:3"])
def test_adapters_and_a_sweep_in_one_table(
    run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path, setting: str
) -> None:
    report = tmp_path / "out"
    arguments = ("eval", "--dataset", data, "--model", tiny_checkpoint, "--report", report, *FEW)
    wide, narrow = (f"grace:layer=0:radius={r}:search.steps=4" for r in (1e6, 1e-6))
    other = "lora:training.steps=4:rank=2"
    methods = ["none", narrow, wide, other]
    ran = run(*arguments, "--method", ",".join(methods), "--setting", setting, "--json")
    assert ran.code == 0, ran.err
    found = {
        (row["method"], row["metric"]): row
        for row in ran.json
        if not row["kind"] and row["scoring"] == "teacher_forced"
    }
    metric = "edit_success_log_probability"
    for method in methods[1:]:
        assert found[method, metric]["n"] == 3 and found[method, "locality"]["n"] == 3
        assert found[method, metric]["value"] != found["none", metric]["value"]
    assert found[narrow, "locality"]["value"] == 1
    by_age = {row["method"] for row in ran.json if row["metric"] == "edit_success_by_age"}
    assert by_age == (set(methods) if setting != "single" else set())
    costs = {row["method"] for row in ran.json if row["metric"] == "seconds_per_edit"}
    assert costs == {row["method"] for row in ran.json if row["metric"] == "added_bytes"}
    assert costs == set(methods[1:])
    assert {row["method"] for row in ran.json if row["metric"] == "fluency"} == set(methods)
    assert wide in (report / "report.html").read_text(encoding="utf-8")
    scored = (report / "scored.jsonl").read_bytes()
    more = "melo:layer=0:training.steps=2"
    again = run(*arguments, "--method", f"{wide},{more}", "--setting", setting, "--json")
    assert again.code == 0, again.err
    assert (report / "scored.jsonl").read_bytes().startswith(scored)
    assert [row for row in again.json if row["method"] != more] == ran.json


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (("--model", "M", "--method", "icee"), "no method called 'icee'. Did you mean 'ice'?", 2),
        (("--model", "M", "--method", "proxy"), "cannot be measured with --model", 2),
        (("--proxy", "http://127.0.0.1:9", "--method", "ice"), "with --proxy", 2),
        (("--model", "M", "--method", "grace:radios=1"), "no setting 'radios'", 2),
        (("--model", "M", "--method", "ice:radius=1"), "ice takes no settings", 2),
        (("--model", "M", "--method", "grace:radius"), "expected NAME=VALUE", 2),
        (("--model", "M", "--proxy", "http://127.0.0.1:9"), "one of them", 2),
        ((), "one of them", 2),
        (("--proxy", "127.0.0.1:9"), "is no URL", 2),
        (("--model", "M"), "name at least one", 2),
        (("--model", "M", "--method", ", ,"), "names no method", 2),
        (("--model", "M", "--method", "none", "--setting", "both"), "no setting 'both'", 2),
        (("--model", "M", "--method", "none", "--setting", "sequential:9"), "needs 9 edits", 2),
        (("--model", "M", "--method", "none", "--setting", "batch,"), "no setting ''", 2),
        (
            *(("--model", "M", "--method", "none", "--setting", "single,batch", "--all-edits"),),
            *("is for --setting batch", 2),
        ),
        (
            ("--model", "M", "--method", "ice", "--scope", "always", "--setting", "batch"),
            "only the single setting",
            2,
        ),
        (("--model", "M", "--method", "none", "--form", "song"), "no form 'song'", 2),
        (("--model", "M", "--method", "none", "--compare", "C"), "part of a --report", 2),
        (
            ("--model", "M", "--method", "none", "--report", "R", "--compare", "nowhere"),
            *("nowhere is no folder", 2),
        ),
        (("--model", "M", "--method", "none", "--task", "other"), "no task 'other'", 2),
        (("--model", "M", "--method", "none"), "no checkpoint at M", 1),
        (("--proxy", "http://127.0.0.1:9"), "cannot reach a memedit proxy", 1),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    run: Run, data: str, flags: tuple[str, ...], said: str, code: int
) -> None:
    ran = run("eval", "--dataset", data, *flags)
    assert ran.code == code, ran.err
    line = ran.err.strip().splitlines()[-1]
    assert line.startswith("memedit: ") and said in line


def test_a_server_that_is_no_proxy_is_told_from_one(run: Run, data: str, serve: Any) -> None:
    server = serve(Starlette())
    ran = run("eval", "--dataset", data, "--proxy", server.url)
    assert ran.code == 2 and "answers, but is no memedit proxy" in ran.err


def test_a_report_that_cannot_be_a_folder(
    run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "report"
    file.write_text("mine")
    ran = run(
        *("eval", "--dataset", data, "--model", tiny_checkpoint, "--method", "none"),
        *("--report", file, "--json"),
    )
    assert ran.code == 2 and "cannot be made a run's folder" in _error(ran)
    assert file.read_text() == "mine"


def test_no_such_data_set(run: Run, tiny_checkpoint: Path) -> None:
    model = ("--model", tiny_checkpoint, "--method", "none")
    ran = run("eval", "--dataset", "knowedit:nothing.json", *model, "--json")
    assert ran.code == 1 and "nothing.json" in _error(ran)
    ran = run("eval", "--dataset", "knowledge:nothing.json", *model, "--json")
    assert ran.code == 2 and "knowedit" in _error(ran)
