"""Specs, splits, limits and tasks; the summary."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from memedit.errors import (
    DatasetError,
    InvalidInputError,
    MissingResourceError,
    SettingsError,
    UnknownNameError,
)
from memedit.evaluation import datasets
from memedit.evaluation.datasets import ATLASEDIT_VARIABLE, atlasedit_folder, load_dataset
from memedit.evaluation.summary import summary


def facts(count: int, target: str = "Jena") -> list[dict[str, str]]:
    return [
        {
            "subject": f"Leo {number}",
            "prompt": f"Leo {number} died in",
            "target_new": target,
            "ground_truth": "Berlin",
        }
        for number in range(count)
    ]


def write(file: Path, document: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small AtlasEdit, and nothing of the real one within reach."""
    atlas = tmp_path / "atlasedit"
    write(atlas / "zsre_test.json", facts(10))
    write(atlas / "zsre_train.json", facts(3))
    write(atlas / "wiki_recent_test.json", facts(2))
    hop = {"question": "Where did Leo die?", "answer": "Jena", "edited": True}
    rewrite = {"prompt": "{} died in", "subject": "Leo", "target_new": "Jena", "target_true": "Ulm"}
    chain = {"requested_rewrite": [rewrite], "questions": ["Q?"], "new_answer": "Jena"}
    write(atlas / "multihop_test.json", [{**chain, "new_single_hops": [hop]}] * 6)
    monkeypatch.setenv(ATLASEDIT_VARIABLE, str(atlas))
    return atlas


def test_atlasedit_is_one_split_of_all_its_files(folder: Path) -> None:
    dataset = load_dataset("atlasedit")
    assert Counter(case.task for case in dataset.cases) == {
        "multihop": 6,
        "wiki_recent": 2,
        "zsre": 10,
    }
    assert dataset.records == 18
    assert Counter(case.task for case in load_dataset("atlasedit", split="train").cases) == {
        "zsre": 3
    }
    assert load_dataset(f"atlasedit:{folder}").cases == dataset.cases
    one = load_dataset(f"atlasedit:{folder / 'multihop_test.json'}")
    assert {case.task for case in one.cases} == {"multihop"}


def test_the_hop_that_is_edited_is_generality(folder: Path) -> None:
    (kinds,) = {
        tuple(probe.metric.value for probe in case.probes)
        for case in load_dataset("atlasedit", tasks=["multihop"]).cases
    }
    assert kinds == ("edit_success", "multihop", "generality")


def test_a_limit_is_spread_evenly_and_always_alike(folder: Path) -> None:
    dataset = load_dataset("atlasedit", limit=9)
    assert [case.id for case in dataset.cases] == [
        *(f"multihop_test[{n}]" for n in (0, 1, 3, 4)),
        *(f"wiki_recent_test[{n}]" for n in (0, 1)),
        *(f"zsre_test[{n}]" for n in (0, 3, 6)),
    ]
    assert load_dataset("atlasedit", limit=9) == dataset
    assert dataset.records == 18
    assert dataset.probes.total() == sum(len(case.probes) for case in dataset.cases)
    assert len(load_dataset("atlasedit", limit=1).cases) == 1
    assert len(load_dataset("atlasedit", limit=1_000).cases) == 18


def test_with_a_limit_only_faults_of_its_cases_are_told_and_all_that_was_dropped(
    tmp_path: Path,
) -> None:
    records = [{**fact, "prompt": "He died in"} for fact in facts(10)]
    records[9]["target_new"] = ""
    file = write(tmp_path / "zsre_test.json", records)
    whole = load_dataset(f"knowedit:{file}")
    assert len([fault for fault in whole.faults if not fault.dropped]) == 9
    part = load_dataset(f"knowedit:{file}", limit=2)
    assert {(fault.where, fault.dropped) for fault in part.faults} == {
        ("zsre_test[0]", False),
        ("zsre_test[4]", False),
        ("zsre_test[9]", True),
    }


def test_tasks_are_chosen_by_name(folder: Path) -> None:
    dataset = load_dataset("atlasedit", tasks=["zsre", "wiki_recent"], limit=4)
    assert Counter(case.task for case in dataset.cases) == {"wiki_recent": 2, "zsre": 2}
    with pytest.raises(InvalidInputError, match="no task 'wikibio'; it has multihop, wiki_recent"):
        load_dataset("atlasedit", tasks=["wikibio"])


def test_specs_can_be_joined(folder: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "c+knowledge" / "first_test.json", facts(1))
    two = write(tmp_path / "second_train_20.json", facts(2))
    dataset = load_dataset(f"knowedit:{one},{two}+atlasedit")
    assert {case.task for case in dataset.cases} == {
        *("first", "second", "multihop", "wiki_recent", "zsre")
    }
    assert dataset.fingerprint != load_dataset(f"knowedit:{one}").fingerprint


def test_files_of_one_name_keep_their_cases_apart(tmp_path: Path) -> None:
    files = [write(tmp_path / name / "zsre_test.json", facts(2)) for name in ("a", "b")]
    cases = load_dataset(f"knowedit:{files[0]},{files[1]}").cases
    assert [case.id for case in cases] == [
        *("a/zsre_test[0]", "a/zsre_test[1]", "b/zsre_test[0]", "b/zsre_test[1]")
    ]
    assert {case.task for case in cases} == {"zsre"}
    with pytest.raises(InvalidInputError, match="named more than once"):
        load_dataset(f"knowedit:{files[0]},{files[0]}")


def test_a_folder_means_its_files(tmp_path: Path) -> None:
    place = tmp_path / "knowedit"
    one = write(place / "zsre_dev.json", facts(2))
    two = write(place / "wiki_recent_train.json", facts(3))
    (place / "LICENSE").write_text("free")
    dataset = load_dataset(f"knowedit:{place}")
    assert Counter(case.task for case in dataset.cases) == {"zsre": 2, "wiki_recent": 3}
    assert dataset.fingerprint == load_dataset(f"knowedit:{two},{one}").fingerprint
    files = {file.file: file for file in dataset.files}
    assert files.keys() == {"zsre_dev.json", "wiki_recent_train.json"}
    assert (files["zsre_dev.json"].format, files["zsre_dev.json"].task) == ("knowedit", "zsre")
    assert files["zsre_dev.json"].sha256 == hashlib.sha256(one.read_bytes()).hexdigest()
    chosen = load_dataset(f"knowedit:{place}", tasks=["zsre"]).files
    assert [file.file for file in chosen] == ["zsre_dev.json"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingResourceError, match=r"empty holds no \.json and no \.csv file"):
        load_dataset(f"knowedit:{tmp_path / 'empty'}")


def test_the_fingerprint_is_that_of_the_files(tmp_path: Path) -> None:
    file = write(tmp_path / "zsre_test.json", facts(2))
    before = load_dataset(f"knowedit:{file}").fingerprint
    assert load_dataset(f"knowedit:{file}", limit=1).fingerprint == before
    write(file, facts(2, target="Ulm"))
    assert load_dataset(f"knowedit:{file}").fingerprint != before


def test_what_cannot_be_used_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'knowedi'\. Did you mean 'knowedit'"):
        load_dataset("knowedi:file.json")
    with pytest.raises(InvalidInputError, match=r"expected knowedit:FILE\[,FILE...\]"):
        load_dataset("knowedit")
    with pytest.raises(InvalidInputError, match="at least 1; got 0"):
        load_dataset("atlasedit", limit=0)
    with pytest.raises(SettingsError, match=r"no files of the split 'dev'.* test, train"):
        load_dataset("atlasedit", split="dev")
    with pytest.raises(MissingResourceError, match="is not there"):
        load_dataset(f"atlasedit:{tmp_path / 'nowhere'}")


def test_atlasedit_is_looked_for_where_it_may_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ATLASEDIT_VARIABLE, raising=False)
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "lib/memedit/evaluation/datasets.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingResourceError, match=r"run from a checkout .* atlasedit:DIR"):
        atlasedit_folder()
    beside = tmp_path / "examples/atlas/data/atlasedit"
    beside.mkdir(parents=True)
    assert atlasedit_folder() == beside
    monkeypatch.setenv(ATLASEDIT_VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(MissingResourceError, match="elsewhere"):
        atlasedit_folder()


def test_what_the_limit_leaves_out_is_named(folder: Path) -> None:
    assert load_dataset("atlasedit", limit=2).left_out == ("zsre",)
    assert "because of the limit: zsre" in summary(load_dataset("atlasedit", limit=2))
    assert load_dataset("atlasedit", limit=3).left_out == ()
    assert load_dataset("atlasedit", tasks=["zsre"], limit=1).left_out == ()


def test_a_file_of_another_format_is_told_beside_one_that_fits(tmp_path: Path) -> None:
    fits = write(tmp_path / "zsre_test.json", facts(1))
    rewrite = {"prompt": "{} died in", "subject": "Leo", "target_new": {"str": "Jena"}}
    other = write(tmp_path / "cf.json", [{"requested_rewrite": rewrite}] * 5)
    data = load_dataset(f"knowedit:{fits},{other}")
    assert len(data.cases) == 1
    [said] = data.unfit
    assert f"of the 5 records of {other} none can be scored as knowedit: 5 x " in said
    assert said.endswith(f"it reads as counterfact: use --dataset counterfact:{other}")
    assert said in summary(data)
    assert load_dataset(f"knowedit:{fits},{other}", tasks=["zsre"]).unfit == ()
    with pytest.raises(DatasetError, match="it reads as counterfact: use --dataset"):
        load_dataset(f"hallueditbench:{other}")


def test_the_summary_counts_everything(tmp_path: Path) -> None:
    records = [*facts(3), {**facts(1)[0], "target_new": "Ulm"}, 7]
    text = summary(load_dataset(f"knowedit:{write(tmp_path / 'zsre_test.json', records)}"))
    assert "5 records, 4 cases, 4 edits, 4 probes" in text
    assert "zsre: 4 cases\n    edit_success: 4" in text
    assert "not scored: 1\n    1 x expected an object, got int (zsre_test[4])" in text
    assert "to be known: 2\n    2 x the same prompt is edited to another target" in text
    assert "several answers" not in text
    probe = {"prompt": "Leo's end:", "ground_truth": [["Jena", "Jena on the Saale"], ["Ulm"]]}
    several = [{**facts(1)[0], "portability": {"Reasoning": [probe]}}]
    text = summary(load_dataset(f"knowedit:{write(tmp_path / 'zsre_test.json', several)}"))
    assert "1 probes accept several answers, 3 texts" in text
