"""Mixing: every task from the beginning to the end, and the same order for every length."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from memedit.evaluation.cases import EditCase
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.mixing import mixed
from memedit.evaluation.settings import Setting
from memedit.types import EditRequest

SIZES = {"convsent": 4, "multihop": 40, "zsre": 20}


def cases_of(sizes: dict[str, int], edits: dict[str, int] | None = None) -> list[EditCase]:
    """Return cases in blocks by task, as they are loaded."""
    return [
        EditCase(
            f"{task}_test[{number}]",
            task,
            tuple(
                EditRequest(prompt=f"{task} {number} {n} is", subject=task, target_new="so")
                for n in range((edits or {}).get(task, 1))
            ),
            (),
        )
        for task, size in sizes.items()
        for number in range(size)
    ]


def test_nothing_is_lost_and_nothing_is_drawn() -> None:
    cases = cases_of(SIZES)
    assert sorted(case.id for case in mixed(cases)) == sorted(case.id for case in cases)
    assert mixed(cases) == mixed(cases)
    assert mixed([]) == ()


@pytest.mark.parametrize("length", [3, 8, 16, 48, 64])
def test_any_beginning_holds_every_task_in_proportion(length: int) -> None:
    beginning = Counter(case.task for case in mixed(cases_of(SIZES))[:length])
    for task, size in SIZES.items():
        share = length * size / sum(SIZES.values())
        assert beginning[task] >= 1
        assert abs(beginning[task] - share) <= 2, (task, beginning)


def test_how_old_an_edit_is_says_nothing_of_its_task() -> None:
    places: dict[str, list[int]] = {}
    for place, case in enumerate(mixed(cases_of(SIZES))):
        places.setdefault(case.task, []).append(place)
    middle = {task: sum(own) / len(own) for task, own in places.items()}
    assert max(middle.values()) - min(middle.values()) <= 8  # of 64; in blocks it would be 52


def test_the_beginning_of_a_file_is_spread_over_the_file() -> None:
    order = [int(case.id.split("[")[1][:-1]) for case in mixed(cases_of({"mquake": 60}))]
    assert order[0] == 0
    for length in (6, 15, 30):
        beginning = order[:length]
        thirds = Counter(place // 20 for place in beginning)  # MQuAKE: two, three, four hops
        turns = Counter(place % 3 for place in beginning)  # AtlasEdit: the same in turns
        for shares in (thirds, turns):
            assert set(shares) == {0, 1, 2} and max(shares.values()) - min(shares.values()) <= 2


@pytest.mark.parametrize("text", ["sequential:12", "batch:12"])
def test_sequences_and_batches_hold_every_task(text: str) -> None:
    setting = Setting.parse(text)
    equal = cases_of(dict.fromkeys(SIZES, 16))
    chosen = setting.chosen(equal)
    parts = setting.parts(chosen, 1)
    assert [len(part) for part in parts] == ([12] if "seq" in text else [12] * 4)
    for part in parts:
        assert Counter(case.task for case in part) == dict.fromkeys(SIZES, 4)


def test_a_longer_sequence_begins_with_the_shorter_one() -> None:
    cases = cases_of(SIZES, edits={"multihop": 3})
    short, long = (Setting.parse(f"sequential:{n}").chosen(cases) for n in (10, 100))
    assert short == long[: len(short)]
    for chosen, most in ((short, 10), (long, 100)):
        edits = sum(len(case.requests) for case in chosen)
        assert most - 2 <= edits <= most, "a case is never cut"
    assert Setting.parse("single").chosen(cases) == tuple(cases)


def test_joined_data_sets_are_mixed_and_so_are_files_of_one_task(tmp_path: Path) -> None:
    parts = []
    for folder, name in (("a", "zsre"), ("b", "zsre"), ("b", "counterfact")):
        file = tmp_path / folder / f"{name}_test.json"
        file.parent.mkdir(exist_ok=True)
        records = [
            {
                "subject": f"{folder} {name} {n}",
                "prompt": f"{folder} {name} {n} died in",
                "target_new": "Jena",
                "ground_truth": "Ulm",
            }
            for n in range(8)
        ]
        file.write_text(json.dumps(records))
        parts.append(f"knowedit:{file}")
    data = load_dataset("+".join(parts))
    for length in (3, 6, 12):
        chosen = Setting.parse(f"sequential:{length}").chosen(data.cases)
        files = Counter(case.id.split("[")[0] for case in chosen)
        assert set(files.values()) == {length // 3} and len(files) == 3
