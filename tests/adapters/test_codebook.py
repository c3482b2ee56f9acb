"""GRACE's update rules and look-up, against a slow oracle that keeps lists of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.adapters.codebook import Codebook
from memedit.adapters.codebook_files import codebook_of, saved_codebook

RADIUS = 1.0


@dataclass
class Row:
    key: list[float]
    radius: float
    label: str


class Oracle:
    """The paper's algorithm 1, without what memedit adds."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def place(self, key: list[float], label: str) -> None:
        near = min(self.rows, key=lambda row: math.dist(row.key, key), default=None)
        if near is None:
            self.rows.append(Row(key, RADIUS, label))
            return
        d = math.dist(near.key, key)
        if d > RADIUS + near.radius:
            self.rows.append(Row(key, RADIUS, label))
        elif near.label != label:
            near.radius = d / 2 - 1e-5
            self.rows.append(Row(key, d / 2, label))
        elif d > near.radius:
            near.radius = d


places = st.tuples(st.integers(-12, 12), st.integers(-12, 12)).map(lambda p: [p[0] / 4, p[1] / 4])
edits = st.lists(st.tuples(places, st.sampled_from("abc")), min_size=1, max_size=12)


def unlike(pairs: list[tuple[list[float], str]]) -> list[tuple[list[float], str]]:
    """Keep the first of edits at one place; a key of no length has no neighbourhood."""
    first: dict[tuple[float, ...], str] = {}
    for key, label in pairs:
        if any(key):
            first.setdefault(tuple(key), label)
    return [(list(key), label) for key, label in first.items()]


def value(number: int) -> torch.Tensor:
    return torch.tensor([float(number), 1.0])


def filled(pairs: list[tuple[list[float], str]]) -> Codebook:
    book = Codebook(RADIUS)
    for number, (key, label) in enumerate(pairs):
        assert book.place(str(number), torch.tensor(key), value(number), label) == []
    return book


def answer(book: Codebook, key: list[float]) -> str | None:
    """Return the label that a look-up ends at, by the table."""
    if not book.entries:
        return None
    found, near = book.table().nearest(torch.tensor([key]))
    return book.entries[int(found)].label if bool(near) else None


@settings(max_examples=40)
@given(edits)
def test_the_rules_are_the_papers(pairs: list[tuple[list[float], str]]) -> None:
    pairs = unlike(pairs)
    book, oracle = filled(pairs), Oracle()
    for key, label in pairs:
        oracle.place(key, label)
    assert [(e.key.tolist(), e.label) for e in book.entries] == [
        (row.key, row.label) for row in oracle.rows
    ]
    assert [e.radius for e in book.entries] == pytest.approx([r.radius for r in oracle.rows])
    assert len(book.entries) + len(book.members) == len(pairs)


@settings(max_examples=40)
@given(edits)
def test_held_edits_are_all_answered_by_their_own_label(
    pairs: list[tuple[list[float], str]],
) -> None:
    pairs = unlike(pairs)
    if not pairs:
        return
    book = filled(pairs)
    book.hold()
    assert [answer(book, key) for key, _ in pairs] == [label for _, label in pairs]


@settings(max_examples=40)
@given(edits, st.data())
def test_a_deleted_edit_leaves_nothing_and_the_others_stay(
    pairs: list[tuple[list[float], str]], data: st.DataObject
) -> None:
    pairs = unlike(pairs)
    if not pairs:
        return
    book = filled(pairs)
    book.hold()
    order = data.draw(st.permutations(range(len(pairs))))
    for done, gone in enumerate(order, 1):
        book.delete(str(gone))
        for n in order[:done]:
            assert answer(book, pairs[n][0]) is None
        for n in order[done:]:
            assert answer(book, pairs[n][0]) == pairs[n][1]
    assert not book.entries and not book.members


def test_the_four_rules_one_by_one() -> None:
    book = filled([([10.0, 0.0], "a")])
    assert [e.radius for e in book.entries] == [1.0]
    book.place("far", torch.tensor([12.5, 0.0]), value(1), "a")
    assert [e.radius for e in book.entries] == [1.0, 1.0]
    book.place("expands", torch.tensor([8.5, 0.0]), value(2), "a")
    assert [e.radius for e in book.entries] == [1.5, 1.0] and book.members[0].edit == "expands"
    book.place("splits", torch.tensor([10.0, 1.0]), value(3), "b")
    assert [e.radius for e in book.entries] == pytest.approx([0.5 - 1e-5, 1.0, 0.5])
    assert answer(book, [8.5, 0.0]) is None  # what the paper's rules alone lose
    book.hold()
    assert answer(book, [8.5, 0.0]) == "a" and not book.members


def test_another_answer_to_the_same_prompt_takes_its_place() -> None:
    book = filled([([10.0, 0.0], "a"), ([10.5, 0.0], "a")])
    assert book.place("new", torch.tensor([10.0, 1e-5]), value(7), "b") == ["0"]
    book.hold()
    assert answer(book, [10.0, 0.0]) == "b" and answer(book, [10.5, 0.0]) == "a"
    assert book.place("newer", torch.tensor([10.5, 0.0]), value(8), "c") == ["1"]
    book.hold()
    assert answer(book, [10.5, 0.0]) == "c"


def test_a_hole_goes_when_its_prompt_is_learned_again() -> None:
    book = filled([([10.0, 0.0], "a"), ([10.6, 0.0], "a")])
    book.delete("1")
    assert [e.is_hole for e in book.entries] == [False, True]
    assert answer(book, [10.6, 0.0]) is None and answer(book, [10.2, 0.0]) == "a"
    book.place("again", torch.tensor([10.6, 0.0]), value(3), "z")
    assert not any(e.is_hole for e in book.entries) and answer(book, [10.6, 0.0]) == "z"


def test_the_look_up_agrees_with_a_plain_search() -> None:
    draw = torch.Generator().manual_seed(1)
    book = Codebook(4.0)
    for number in range(40):
        book.place(str(number), torch.randn(16, generator=draw) + 9, value(number), str(number))
    table = book.table()
    queries = torch.cat([torch.randn(200, 16, generator=draw) + 9, table.keys])
    found, near = table.nearest(queries)
    for query, at, inside in zip(queries, found.tolist(), near.tolist(), strict=True):
        distances = [math.dist(query.tolist(), key.tolist()) for key in table.keys]
        assert distances[at] == pytest.approx(min(distances), rel=1e-5)
        assert inside == (min(distances) <= table.radii[at])
    assert found[200:].tolist() == list(range(40)) and bool(near[200:].all())


def test_what_is_saved_is_read_whatever_type_the_process_defaults_to() -> None:
    """In a server another thread may be building a model, in another type, at that moment."""
    book = Codebook(0.3)
    book.place("e-1@1", torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.7]), "a")
    saved = saved_codebook(book)
    torch.set_default_dtype(torch.bfloat16)
    try:
        read = codebook_of(saved, ["e-1@1"])
        assert read is not None
        table = read.table()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {t.dtype for t in (table.keys, table.radii, table.values)} == {torch.float32}
    assert torch.equal(table.radii, saved.tensors["radii"])
