"""memedit eval scope: several classifiers beside each other, in tables and in one plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.evaluation.report.run_folder import run_folder

SERAC = Path(__file__).parents[2] / "examples" / "atlas" / "serac"
DATASET = ("eval", "scope", "--dataset", "knowedit:cases.json")


@pytest.fixture(autouse=True)
def cases(run: Run) -> None:
    """Write two cases into the folder that commands run in."""
    records = [
        {
            "subject": land,
            "prompt": f"The capital of {land} is",
            "target_new": "Lindhaven",
            "ground_truth": "Velden",
            "rephrase_prompt": f"What is the capital of {land}?",
            "locality": {
                "Relation_Specificity": [
                    {"prompt": f"The anthem of {land} is", "ground_truth": "Hail"}
                ]
            },
            "portability": {},
        }
        for land in ("Quendoria", "Marovia")
    ]
    Path("cases.json").write_text(json.dumps(records), encoding="utf-8")


def test_several_classifiers_are_measured_and_drawn_together(run: Run) -> None:
    command = (*DATASET, "--classifier", "cosine", "--classifier", f"serac={SERAC}")
    ran = run(*command, "--plot", "recall.svg", "--json")
    assert ran.code == 0, ran.err
    names = list(dict.fromkeys(row["classifier"] for row in ran.json))
    assert names == ["cosine", f"serac={SERAC}"]
    for name in names:
        alone = run(*DATASET, "--classifier", name, "--json").json
        assert alone == [row for row in ran.json if row["classifier"] == name]
    weighed = run(*DATASET, "--classifier", "serac", "--weights", SERAC, "--json").json
    assert [row | {"classifier": names[1]} for row in weighed] == [
        row for row in ran.json if row["classifier"] == names[1]
    ]
    drawn = Path("recall.svg").read_text(encoding="utf-8")
    assert [row["accepted"] for row in ran.json if row["threshold_from"] == "file"] == [0.01] * 4
    assert all(0 <= row["calibration_error"] <= 1 for row in ran.json)
    firing = {row["kind"] for row in ran.json if row["recall"] is not None}
    assert firing and all(f"<!-- {name} -->" in drawn for name in (*firing, *names))
    rates = ("--false-alarms", "0.01", "--false-alarms", "0.05")
    table = run(*command, *rates, "--plot", "again.png")
    assert "in memory, cosine" in table.out and "drawn in again.png" in table.out
    assert "file, 0.01" in table.out and "file, 0.05" in table.out
    assert "2 cleaned unrelated prompts cannot show a rate of 0.05: one of them is 0.5" in table.err
    coarse = run(*DATASET, "--classifier", "cosine", "--false-alarms", "0.5")
    assert coarse.code == 0 and "cannot show" not in coarse.err
    assert "calibration error" in table.out
    assert Path("again.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_holds_tables_and_curves(run: Run) -> None:
    command = (*DATASET, "--classifier", "cosine", "--classifier", f"serac={SERAC}")
    ran = run(*command, "--false-alarms", "0.05", "--report", "out", "--json")
    assert ran.code == 0, ran.err
    assert "report: out/report.html" in ran.err
    kept = json.loads(Path("out/scope.json").read_text(encoding="utf-8"))
    assert kept["rows"] == ran.json and set(kept["curves"]) == {"cosine", f"serac={SERAC}"}
    html = Path("out/report.html").read_text(encoding="utf-8")
    assert html.count("<svg role") == 1 and "Where 0.05 of the cleaned" in html
    # a second call measures anew
    again = run(*DATASET, "--classifier", "cosine", "--report", "out", "--json")
    kept = json.loads(Path("out/scope.json").read_text(encoding="utf-8"))
    assert kept["rows"] == again.json and list(kept["curves"]) == ["cosine"]


def test_the_report_of_a_run_takes_scope_in(run: Run) -> None:
    run_folder(Path("finished"))
    before = Path("finished/rows.json").read_bytes()
    ran = run(*DATASET, "--classifier", "cosine", "--report", "finished", "--json")
    assert ran.code == 0, ran.err
    html = Path("finished/report.html").read_text(encoding="utf-8")
    assert 'href="#scope">Scope alone</a>' in html and "Scores: generated" in html
    assert "Recall against false alarms" in Path("finished/report.md").read_text(encoding="utf-8")
    assert json.loads(before) == json.loads(Path("finished/rows.json").read_bytes())
    Path("finished/rows.json").unlink()  # as of a run that is still going on
    ran = run(*DATASET, "--classifier", "cosine", "--report", "finished", "--json")
    assert ran.code == 0 and "is not finished" in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--classifier", "cosine", "--classifier", "cosine"), "given twice"),
        (("--classifier", "cosine", "--classifier", "pair", "--weights", "."), "NAME=DIR"),
        (("--classifier", "cosin"), "Did you mean 'cosine'"),
        (("--classifier", "pokemqa"), "train pokemqa"),
        (("--classifier", "cosine", "--plot", "recall.gif"), "cannot draw 'gif'"),
        (("--classifier", "cosine", "--report", "cases.json"), "cannot be made a folder"),
        (("--classifier", "cosine", "--limit", "1", "--held-out"), "none of the 1 cases is about"),
    ],
)
def test_what_cannot_be_measured_is_said(run: Run, options: tuple[str, ...], said: str) -> None:
    ran = run(*DATASET, *options, "--json")
    assert ran.code in (1, 2) and not ran.out and said in ran.error["message"]


def test_the_same_prompts_are_asked_of_memories_of_every_size(run: Run) -> None:
    own = run(*DATASET, "--classifier", "cosine", "--json").json
    other = [{"subject": "Zarkania", "prompt": "The river of Zarkania is", "target_new": "Vorn",
              "ground_truth": "Old Water", "locality": {}, "portability": {}}]  # fmt: skip
    Path("others.json").write_text(json.dumps(other), encoding="utf-8")
    sizes = ("--fill", "1", "--fill", "2", "--fill", "6")
    ran = run(*DATASET, "--classifier", "cosine", *sizes, "--fill-from", "knowedit:others.json",
              "--plot", "sizes.svg", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    by_size = {
        size: [row for row in ran.json if row["edits_in_memory"] == size] for size in (1, 2, 6)
    }
    assert sum(map(len, by_size.values())) == len(ran.json)
    counted = [(row["kind"], row["n"], row["cleaned"]) for row in own]
    for rows in by_size.values():
        assert [(row["kind"], row["n"], row["cleaned"]) for row in rows] == counted
    assert by_size[2] == own
    shipped = {
        size: next(r for r in rows if r["threshold_from"] == "shipped" and r["recall"] is not None)
        for size, rows in by_size.items()
    }
    # alone in memory no other land's edit can be nearer than the prompt's own
    assert shipped[1]["own_edit"] == 1.0
    assert "<!-- cosine, 6 edits -->" in Path("sizes.svg").read_text(encoding="utf-8")


def test_edits_carry_the_aliases_of_a_file(run: Run) -> None:
    record = json.loads(Path("cases.json").read_text(encoding="utf-8"))[0]
    asked = [{"prompt": "What is the capital of the Land of Rain?", "ground_truth": "Lindhaven"}]
    record["portability"] = {"Subject_Aliasing": asked}
    Path("cases.json").write_text(json.dumps([record]), encoding="utf-8")
    names = Path("aliases.json")
    names.write_text(json.dumps({"Quendoria": ["the Land of Rain"]}), encoding="utf-8")

    def recall(*options: str) -> float:
        ran = run(*DATASET, "--classifier", "pair", "--json", *options)
        assert ran.code == 0, ran.err
        [row] = [
            row
            for row in ran.json
            if row["kind"] == "Subject_Aliasing" and row["threshold_from"] == "shipped"
        ]
        return float(row["recall"])

    assert (recall(), recall("--aliases-from", str(names))) == (0.0, 1.0)
    names.write_text(json.dumps({"Elsewhere": ["E."]}), encoding="utf-8")
    refused = run(*DATASET, "--aliases-from", str(names))
    assert refused.code == 1
    assert refused.err.endswith("aliases.json lists no subject of these 1 edits\n")
