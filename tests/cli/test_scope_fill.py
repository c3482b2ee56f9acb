"""Memories of given sizes: who is in them, and whose prompts are asked of which."""

from __future__ import annotations

import pytest

from memedit.cli.scope_fill import Memories, edits_of, further_edits, parts_of, shortfall
from memedit.errors import InvalidInputError
from memedit.evaluation.cases import EditCase
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder


def edit(subject: str) -> EditRequest:
    return EditRequest(prompt=f"The climate of {subject} is", subject=subject, target_new="mild")


def case(*subjects: str) -> EditCase:
    return EditCase(id=subjects[0], task="toy", requests=tuple(map(edit, subjects)), probes=())


CASES = [case("Arda Minor"), case("Bree Hill"), case("Cair Paravel", "Dale End"), case("Eriador")]


def test_cases_are_split_into_parts_of_so_many_edits() -> None:
    assert list(parts_of(CASES, 2)) == [((0, 1), [0, 1]), ((2,), [2, 3]), ((3,), [4])]
    assert list(parts_of(CASES, 1)) == [((0,), [0]), ((1,), [1]), ((2,), [2, 3]), ((3,), [4])]
    assert list(parts_of(CASES, 9)) == [((0, 1, 2, 3), [0, 1, 2, 3, 4])]


def test_every_memory_has_its_size_and_every_case_is_asked_once_of_each() -> None:
    own = edits_of(CASES)
    sizes = [2, 4, 5, 8, 20]
    assert shortfall(len(own), sizes) == 15
    assert shortfall(len(own), [4]) == 4
    real = [edit("Arda Minor"), edit("Gondor"), edit("Harad")]
    further = further_edits(own, real, 15, seed=1)
    assert [one.subject for one in further[:2]] == ["Gondor", "Harad"]
    # asked from its other end, an invented edit is not another right answer
    assert {one.target_new for one in further[:2]} == {"mild"}
    assert all(one.target_new not in ("", "mild") for one in further[2:])
    subjects = [one.subject for one in (*own, *further)]
    assert len(set(subjects)) == len(subjects) == 20
    asked: dict[int, list[int]] = {size: [] for size in sizes}
    encoder = HashingEncoder()
    with Memories(CASES, further, encoder, "auto") as filled:
        stored = 0
        for size in sizes:
            before = encoder.encoded
            for held in filled.of(size):
                asked[size] += held.asked
                live = {one.id: one.request.subject for one in held.memory.list(limit=100)}
                assert len(live) == len(held.places) == size
                assert {name: subjects[place] for name, place in held.places.items()} == live
                mine = {one.subject for number in held.asked for one in CASES[number].requests}
                assert mine <= set(live.values())
                assert {one.id for one in held.new} <= set(live)
            if size >= len(own):  # only what is new is encoded, and nothing of a later size
                assert encoder.encoded - before == 2 * (size - stored)
                stored = size
    assert asked == {size: [0, 1, 2, 3] for size in sizes}


def test_a_memory_that_cannot_be_filled_is_no_smaller_one() -> None:
    nameless = EditRequest(prompt="The capital is", subject="Arda", target_new="Dorn")
    with pytest.raises(InvalidInputError, match="got 1 of 3 edits"):
        further_edits([nameless], [nameless.model_copy(update={"subject": "Bree"})], 3, seed=0)
