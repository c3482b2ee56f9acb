"""MELO's update rules and look-up, against a slow oracle that keeps lists of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.adapters.clusters import Clusters
from tests.adapters.test_codebook import edits, unlike

RADIUS = 1.0
Pairs = list[tuple[list[float], str]]


@dataclass
class Group:
    points: list[list[float]]
    centre: list[float]
    radius: float
    label: str


class Oracle:
    """The paper's rules, without what memedit adds."""

    def __init__(self) -> None:
        self.groups: list[Group] = []

    def place(self, key: list[float], label: str) -> None:
        near = min(self.groups, key=lambda g: math.dist(g.centre, key), default=None)
        d = math.inf if near is None else math.dist(near.centre, key)
        if near is None or d > near.radius + RADIUS:
            self.groups.append(Group([key], key, RADIUS, label))
        elif near.label == label:
            near.points.append(key)
            n = len(near.points)
            near.centre = [sum(p[i] for p in near.points) / n for i in range(2)]
            near.radius = max(RADIUS, *(math.dist(p, near.centre) for p in near.points))
        else:
            near.radius = d / 2
            self.groups.append(Group([key], key, d / 2, label))


def filled(pairs: Pairs) -> Clusters:
    made = Clusters(RADIUS)
    for number, (key, label) in enumerate(pairs):
        assert made.place(str(number), torch.tensor(key), label, 0) == []
    return made


def answer(made: Clusters, key: list[float]) -> int:
    """Return the block that a look-up ends at."""
    if not made.clusters:
        return -1
    return int(made.table().blocks_of(torch.tensor([key]))[0])


def numbered(pairs: Pairs) -> Clusters:
    """Fill clusters; every edit has a block of its own number."""
    made = Clusters(RADIUS)
    for number, (key, label) in enumerate(pairs):
        made.place(str(number), torch.tensor(key), label, number)
    made.hold()
    return made


@settings(max_examples=40)
@given(edits)
def test_the_rules_are_the_papers(pairs: Pairs) -> None:
    pairs = unlike(pairs)
    made, oracle = filled(pairs), Oracle()
    for key, label in pairs:
        oracle.place(key, label)
    assert [c.label for c in made.clusters] == [g.label for g in oracle.groups]
    for cluster, group in zip(made.clusters, oracle.groups, strict=True):
        assert [p.key.tolist() for p in cluster.points] == group.points
        assert cluster.centre.tolist() == pytest.approx(group.centre, abs=1e-5)
        assert cluster.radius == pytest.approx(group.radius, abs=1e-5)


@settings(max_examples=40)
@given(edits)
def test_held_edits_are_all_answered_by_their_own_label(pairs: Pairs) -> None:
    pairs = unlike(pairs)
    if not pairs:
        return
    made = numbered(pairs)
    assert [pairs[answer(made, key)][1] for key, _ in pairs] == [label for _, label in pairs]
    assert all(answer(made, key) >= 0 for key, _ in pairs)


@settings(max_examples=40)
@given(edits, st.data())
def test_a_deleted_edit_leaves_nothing_and_the_others_stay(
    pairs: Pairs, data: st.DataObject
) -> None:
    pairs = unlike(pairs)
    if not pairs:
        return
    made = numbered(pairs)
    before = [answer(made, key) for key, _ in pairs]
    order = data.draw(st.permutations(range(len(pairs))))
    for done, gone in enumerate(order, 1):
        made.delete(str(gone))
        for n in order[:done]:
            assert answer(made, pairs[n][0]) == -1
        for n in order[done:]:
            now = answer(made, pairs[n][0])
            assert now == before[n] or pairs[now][1] == pairs[n][1]
    assert not made.points() and not made.clusters


def test_edits_of_one_batch_in_one_cluster_share_a_block() -> None:
    made = filled([([10.0, 0.0], "a"), ([10.5, 0.0], "a"), ([20.0, 0.0], "a")])
    assert made.assign(["0", "1", "2"], 5) == {"0": 5, "1": 5, "2": 6}
    made.place("later", torch.tensor([10.2, 0.0]), "a", 0)
    assert made.assign(["later"], 7) == {"later": 7}
    assert answer(made, [10.2, 0.0]) == 7 and answer(made, [10.5, 0.0]) == 5
    made.delete("2")
    made.renumber({-1: -1, 5: 0, 7: 1})
    assert answer(made, [10.2, 0.0]) == 1 and answer(made, [20.0, 0.0]) == -1


def test_another_answer_to_the_same_prompt_takes_its_place() -> None:
    made = filled([([10.0, 0.0], "a"), ([10.5, 0.0], "a")])
    assert made.place("new", torch.tensor([10.0, 1e-5]), "b", 3) == ["0"]
    made.hold()
    assert answer(made, [10.0, 0.0]) == 3 and answer(made, [10.5, 0.0]) == 0
