"""``memedit eval`` and its user: what is misused, broken off, gone on with and summed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.eval_told import print_summary
from memedit.evaluation.rows import Row
from memedit.evaluation.run_folder import RunFolder
from tests.cli.conftest import Run
from tests.cli.test_eval import RECORDS

FEW = ("--max-tokens", 2, "--fluency", 0, "--general", 0, "--analysis", 0)
ZSRE = [
    {"subject": name, "src": f"Where did {name} die?", "alt": "Jena", "answers": ["Ulm"]}
    for name in ("Leo", "Mia")
]


def write(file: Path, document: object) -> Path:
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def arguments(tiny_checkpoint: Path, tmp_path: Path) -> tuple[object, ...]:
    file = write(tmp_path / "toy_test.json", RECORDS)
    return ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint, *FEW)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--method", "none", "--dataset", "knowedti:toy_test.json"), "Did you mean 'knowedit'"),
        (("--method", "none", "--dataset", "knowedit"), "names no file"),
        (("--method", "none", "--dataset", "atlasedit", "--split", "dev"), "split 'dev'"),
        (("--method", "none", "--task", "other"), "no task 'other'"),
        (("--method", "none", "--setting", "both"), "no setting 'both'"),
        (("--method", "icee"), "no method called 'icee'"),
        (("--method", "ft-m:radios=1"), "ft-m has no setting 'radios'"),
        (("--method", "grace:radios=1"), "grace has no setting 'radios'"),
        (("--method", "rome:search.stepz=1"), "rome: search has no setting 'stepz'"),
        (("--method", "ft-m:layer=first"), "ft-m: layer cannot be 'first'"),
        (("--method", "ft-m:steps=-1"), "ft-m: rate None, steps -1"),
        (("--method", "ft-m:layer=99"), "--method ft-m:layer=99: layer 99 is not there"),
        (("--method", "grace:layer=99"), "--method grace:layer=99: layer 99 is not there"),
        (("--method", "serac"), "needs serac.folder"),
        (("--method", "none", "--dtype", "float99"), "unknown dtype"),
        (("--method", "none", "--device", "abacus"), "unknown device"),
        (("--method", "none", "--trained", "nowhere"), "nowhere is no folder"),
        (("--method", "none", "--report", "R", "--compare", "nowhere"), "nowhere is no folder"),
        (("--method", "none", "--report", "R", "--compare", "."), "holds no finished run"),
        (("--method", "none", "--report", "toy_test.json"), "cannot be made a run's folder"),
    ],
)
def test_misuse_is_said_before_anything_is_listed(
    run: Run, arguments: Any, flags: tuple[str, ...], said: str
) -> None:
    ran = run(*arguments, *flags)
    [line] = ran.err.strip().splitlines()
    assert ran.code == 2 and line.startswith("memedit: ") and said in line
    assert "Config" not in line, "a class's name says nothing to who types a method's"


def test_a_classifier_that_is_not_there_is_misuse_too(run: Run, arguments: Any) -> None:
    ran = run(*arguments, "--method", "ice", env={"MEMEDIT_SCOPE__CLASSIFIER": "pear"})
    [line] = ran.err.strip().splitlines()
    assert ran.code == 2 and "no scope classifier called 'pear'" in line


@pytest.mark.parametrize(
    ("records", "format", "said"),
    [
        (ZSRE, "knowedit", ("of the 2 records of", "missing or empty", "it reads as zsre: use")),
        (ZSRE, "hallueditbench", ("it has no column subject", "it reads as zsre: use")),
        (RECORDS[:1], "zsre", ("of the record of", "it reads as knowedit: use")),
        ([], "knowedit", ("holds no records",)),
        ([1, 2], "knowedit", ("of the 2 records of", "2 x expected an object")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", [("eval", "--method", "none"), ("eval", "scope")])
def test_a_data_set_with_nothing_to_score_is_an_error(
    *, run: Run, tiny_checkpoint: Path, tmp_path: Path, command: tuple[str, ...],
    records: Any, format: str, said: tuple[str, ...],
) -> None:  # fmt: skip
    spec = f"{format}:{write(tmp_path / 'facts.json', records)}"
    model = () if "scope" in command else ("--model", tiny_checkpoint)
    ran = run(*command, *model, "--dataset", spec)
    [line] = ran.err.strip().splitlines()
    assert ran.code == 1 and not ran.out
    assert all(words in line for words in said), line
    if "it reads as" in line:
        fits = said[-1].split()[3].rstrip(":")
        assert f"use --dataset {fits}:{tmp_path / 'facts.json'}" in line
    assert ("it reads as" in line) is (len(said) > 1 and "reads as" in said[-1])


def test_a_run_that_is_broken_off_says_what_is_kept_and_goes_on(
    run: Run, arguments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = RunFolder.add

    def broken_off(folder: RunFolder, *case: Any) -> None:
        if len(folder.done) == 4:
            raise KeyboardInterrupt
        add(folder, *case)

    command = (*arguments, "--method", "none,ft-m:steps=2", "--setting", "single,sequential:2")
    kept = (*command, "--report", tmp_path / "out")
    monkeypatch.setattr(RunFolder, "add", broken_off)
    ran = run(*kept, "--json")
    assert ran.code == 130 and not ran.out
    message = json.loads(ran.err.splitlines()[-1])["error"]["message"]
    # 2 methods: of single all three cases, of the sequence two; 4 of the 5 of "none" were added,
    # but the sequence of two is asked as one, so that only the three before it are counted.
    assert message == (
        f"interrupted: 3 of 10 cases done and kept in {tmp_path / 'out'}; "
        "run the same command again to go on"
    )
    lost = run(*command)
    assert lost.code == 130 and "and not kept: --report DIR keeps a run" in lost.err

    monkeypatch.setattr(RunFolder, "add", add)
    ran = run(*kept)
    assert ran.code == 0, ran.err
    assert f"going on in {tmp_path / 'out'}: 4 of 10 cases done" in ran.err
    again = run(*kept)
    assert "all 10 cases are done already" in again.err and again.out == ran.out


def test_a_summary_stands_last_on_the_terminal(run: Run, arguments: Any, tmp_path: Path) -> None:
    settings = "single,sequential:2"
    ran = run(
        *arguments, "--method", "none,ft-m", "--setting", settings, "--report", tmp_path / "o"
    )
    assert ran.code == 0, ran.err
    table = ran.out.rpartition("Summary: ")[2]
    for column in ("Edit success", "Generality", "Locality", "Time per edit"):
        assert column in table
    assert "teacher" not in table
    lines = [line.split() for line in table.splitlines() if line.strip()]
    values = {tuple(line[:2]): line[2:] for line in lines if line[0] in ("none", "ft-m")}
    assert set(values) == {(m, s) for m in ("none", "ft-m") for s in settings.split(",")}
    rows = json.loads((tmp_path / "o" / "rows.json").read_text())
    for (method, setting), cells in values.items():
        own = {
            row["metric"]: row["value"]
            for row in rows
            if (row["method"], row["setting"], row["kind"]) == (method, setting, "")
            and row["scoring"] == "generated"
        }
        scores = [own[name] for name in ("edit_success", "generality", "locality")]
        assert cells[:3] == [f"{value:.3f}" for value in scores]
        assert (cells[3] == "-") is (method == "none")
    assert ran.err.splitlines()[-1] == f"report: {tmp_path / 'o' / 'report.html'}"


def test_the_summary_leaves_the_edit_success_of_opinions_out_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def row(task: str, value: float, kind: str = "") -> Row:
        of = ("ice", task, "single", "edit_success", kind, "generated")
        return Row(*of, value, None, None, 3, 3)

    opinions = [row("convsent", 1.0), row("convsent", 1.0, "word for word")]
    print_summary([row("zsre", 0.25), *opinions], {})
    said = capsys.readouterr().out
    assert "0.250" in said and "(1 task)" in said
    assert "Edit success is without convsent" in said
    print_summary([row("zsre", 0.25)], {})
    assert "without" not in capsys.readouterr().out


def test_what_the_limit_leaves_out_is_said_before_the_run(
    run: Run, arguments: Any, tmp_path: Path
) -> None:
    more = write(tmp_path / "more_test.json", RECORDS)
    both = (*arguments, "--dataset", f"knowedit:{tmp_path / 'toy_test.json'},{more}")
    ran = run(*both, "--method", "none", "--limit", 1)
    assert ran.code == 0, ran.err
    assert "not among them, because of the limit: more" in ran.err
    ran = run(*both, "--method", "none", "--limit", 2, "--setting", "sequential:1")
    assert "because of the limit" not in ran.err
    assert "sequential:1: 1 edits of 1 cases (1 toy); no room for more" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        ("bake", "--method", "ft-mm", "--into", "x", "--edits", "toy_test.json"),
        ("bake", "--method", "ft-m", "--set", "stepz=1", "--into", "x", "--edits", "toy_test.json"),
        ("adapt", "--method", "grase", "--out", "x", "--edits", "toy_test.json"),
        ("adapt", "--method", "grace", "--set", "r=1", "--out", "x", "--edits", "toy_test.json"),
    ],
)
def test_other_commands_call_the_same_misuse_by_the_same_code(
    run: Run, arguments: Any, tiny_checkpoint: Path, command: tuple[str, ...]
) -> None:
    ran = run(*command, "--model", tiny_checkpoint)
    assert ran.code == 2 and "Config" not in ran.err, ran.err
