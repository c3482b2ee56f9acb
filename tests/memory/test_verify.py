"""What ``verify`` must notice."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from memedit.memory import EditMemory
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder


@pytest.fixture
def opened(sqlite_url: str, encoder: HashingEncoder, capital: EditRequest):  # type: ignore[no-untyped-def]
    with EditMemory.open(sqlite_url, encoder) as memory:
        memory.add([capital, capital.model_copy(update={"target_new": "Kell"})])
        yield memory


def faults_after(memory: EditMemory, url: str, *statements: str) -> str:
    report = memory.verify()
    assert report.ok and (report.edits, report.vectors) == (2, 12)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    report = memory.verify()
    assert not report.ok
    return " | ".join(report.faults)


def test_a_vector_that_is_another(opened: EditMemory, sqlite_url: str) -> None:
    other = np.eye(64, dtype="<f4")[3].tobytes().hex()
    faults = faults_after(
        opened,
        sqlite_url,
        f"UPDATE memedit_vectors SET vector = x'{other}' WHERE seq = 1 AND position = 1",
    )
    assert "are not those of the database" in faults and faults.count("|") == 0


def test_a_vector_that_is_not_of_length_one(opened: EditMemory, sqlite_url: str) -> None:
    double = (2 * np.eye(64, dtype="<f4")[3]).tobytes().hex()
    faults = faults_after(
        opened, sqlite_url, f"UPDATE memedit_vectors SET vector = x'{double}' WHERE seq = 1"
    )
    assert "length 1" in faults


def test_a_vector_that_is_missing(opened: EditMemory, sqlite_url: str) -> None:
    faults = faults_after(
        opened, sqlite_url, "DELETE FROM memedit_vectors WHERE seq = 2 AND position = 3"
    )
    assert "stored texts" in faults


def test_an_edit_that_vanished_from_the_database(opened: EditMemory, sqlite_url: str) -> None:
    faults = faults_after(
        opened,
        sqlite_url,
        "DELETE FROM memedit_vectors WHERE seq = 2",
        "DELETE FROM memedit_edits WHERE seq = 2",
    )
    assert "not live in the database" in faults


def test_an_edit_that_changed_behind_our_back(opened: EditMemory, sqlite_url: str) -> None:
    faults = faults_after(
        opened, sqlite_url, "UPDATE memedit_edits SET author = 'nobody' WHERE seq = 1"
    )
    assert "not the same in the index" in faults


def test_vectors_without_an_edit(opened: EditMemory, sqlite_url: str) -> None:
    faults = faults_after(opened, sqlite_url, "DELETE FROM memedit_edits WHERE seq = 2")
    assert "belong to no edit" in faults


def test_vectors_missing_in_the_index(opened: EditMemory) -> None:
    live = opened._mirror._live
    live._indexes["default"].remove(np.array([256, 257]))
    assert "are not in the index" in " ".join(opened.verify().faults)


def test_vectors_too_many_in_the_index(opened: EditMemory, encoder: HashingEncoder) -> None:
    live = opened._mirror._live
    live._indexes["default"].add(np.array([9_999]), encoder.encode(["stray"]))
    assert "1 vectors in the index belong to no live edit" in " ".join(opened.verify().faults)
