"""The real benchmark files load completely: every record is a case, or is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from memedit.evaluation.cases import Dataset
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.formats.base import NO_ANSWER
from memedit.evaluation.label_faults import EDITED_TWICE, OLD_ANSWER, SAME_RELATION
from memedit.evaluation.summary import summary

pytestmark = pytest.mark.data

Counts = dict[tuple[str, str], int]
Load = Callable[[str], Dataset]

# File: (format, records, cases, probes by metric and kind).
FILES: dict[str, tuple[str, int, int, Counts]] = {
    "knowedit/zsre_dev.json": (
        "knowedit",
        652,
        652,
        {
            ("edit_success", ""): 652,
            ("generality", ""): 652,
            ("portability", "Reasoning"): 379,
            ("portability", "Subject_Aliasing"): 125,
            ("portability", "Logical_Generalization"): 148,
            ("locality", "Relation_Specificity"): 1_304,
        },
    ),
    "knowedit/wiki_counterfact_train.json": (
        "knowedit",
        1_428,
        1_428,
        {
            ("edit_success", ""): 1_428,
            ("portability", "Reasoning"): 504,
            ("portability", "Subject_Aliasing"): 1_410,
            ("portability", "Logical_Generalization"): 305,
            ("locality", "Relation_Specificity"): 1_254,
            ("locality", "Forgetfulness"): 782,
        },
    ),
    "knowedit/wiki_recent_train.json": (
        "knowedit",
        570,
        570,
        {
            ("edit_success", ""): 570,
            ("portability", "Reasoning"): 476,
            ("portability", "Subject_Aliasing"): 52,
            ("portability", "Logical_Generalization"): 223,
            ("locality", "Relation_Specificity"): 1_648,
            ("locality", "Forgetfulness"): 298,
        },
    ),
    "knowedit/wikibio_train.json": (
        "knowedit",
        464,
        464,
        {("edit_success", ""): 464, ("locality", "Relation_Specificity"): 928},
    ),
    "knowedit/convsent_val.json": (
        "knowedit",
        799,
        799,
        {("edit_success", "word for word"): 799, ("locality", "Other_Topic"): 799},
    ),
    "knowedit/sanitation_train.json": (
        "knowedit",
        80 + 453,
        80,
        {("edit_success", ""): 80, ("retention", ""): 453},
    ),
    "mquake/mquake_cf_3k_dev.json": (
        "mquake",
        1_500,
        1_500,
        {
            ("edit_success", ""): 2_988,
            ("generality", ""): 2_988,
            **{("multihop", f"{hops} hops"): 1_500 for hops in (2, 3, 4)},
            ("locality", "Unedited_Hop"): 1_512,
        },
    ),
    "zsre/zsre_mend_train_10000.json": (
        "zsre",
        10_000,
        10_000,
        {
            ("edit_success", ""): 10_000,
            ("generality", ""): 10_000,
            ("locality", "Natural_Questions"): 10_000,
        },
    ),
}


@pytest.fixture(scope="module")
def load(data: Path) -> Load:
    """Read a file once for all tests."""
    return cache(lambda name: load_dataset(f"{FILES[name][0]}:{data / name}"))


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(name: str, load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    _, records, cases, probes = FILES[name]
    dataset = load(name)
    assert dataset.records == records
    assert len(dataset.cases) == cases
    assert not [fault for fault in dataset.faults if fault.dropped]
    found: Counter[tuple[str, str]] = Counter()
    for (_, metric, kind), n in dataset.probes.items():
        found[metric, kind] += n
    assert found == probes
    assert len({case.id for case in dataset.cases}) == cases
    with capsys.disabled():
        print(f"\n{summary(dataset)}")  # noqa: T201


def test_known_faults_of_labels_are_found(load: Load) -> None:
    faults = Counter(fault.reason for fault in load("knowedit/zsre_dev.json").faults)
    assert faults[SAME_RELATION] >= 90
    assert faults[SAME_RELATION] + faults[OLD_ANSWER] >= 150
    assert faults[EDITED_TWICE] == 2
    recent = Counter(fault.reason for fault in load("knowedit/wiki_recent_train.json").faults)
    assert recent[NO_ANSWER] == 7
    chains = Counter(fault.reason for fault in load("mquake/mquake_cf_3k_dev.json").faults)
    (conflict,) = chains
    assert conflict.startswith("another case edits this hop")
    assert chains[conflict] > 500


def test_the_topics_of_hallueditbench_are_read(data: Path) -> None:
    files = sorted((data / "hallueditbench").glob("*.csv"))
    assert len(files) == 13
    dataset = load_dataset(f"hallueditbench:{','.join(map(str, files))}")
    assert len({case.task for case in dataset.cases}) == 13
    assert dataset.records == len(dataset.cases) + len(
        {fault.where for fault in dataset.faults if fault.dropped and fault.where.endswith("]")}
    )
    kinds: Counter[tuple[str, str]] = Counter()
    for (_, metric, kind), n in dataset.probes.items():
        kinds[metric, kind] += n
    assert {("multihop", f"{hops} hops") for hops in range(2, 7)} <= kinds.keys()
    assert kinds["edit_success", ""] == len(dataset.cases) > 1_000


def test_a_mixed_data_set_with_a_limit(data: Path) -> None:
    names = ("knowedit/zsre_dev.json", "knowedit/sanitation_train.json")
    spec = "+".join(f"{FILES[name][0]}:{data / name}" for name in names)
    dataset = load_dataset(spec, limit=20)
    assert Counter(case.task for case in dataset.cases) == {"zsre": 10, "sanitation": 10}
