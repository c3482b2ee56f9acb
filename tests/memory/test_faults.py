"""A database that cannot do what it should: a clear error, and nothing half-written."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from memedit.errors import MemeditError, MemoryFailure
from memedit.memory import EditMemory
from memedit.memory.database import DuplicateKey
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder


def test_a_locked_database(tmp_path: Path, encoder: HashingEncoder, capital: EditRequest) -> None:
    file = tmp_path / "memory.db"
    with EditMemory.open(f"sqlite:///{file}?timeout=0.1", encoder) as memory:
        [edit] = memory.add([capital])
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        for call in (
            lambda: memory.add([capital]),
            lambda: memory.retract(edit.id),
            lambda: memory.supersede(edit.id, capital),
        ):
            with pytest.raises(MemoryFailure, match="locked"):
                call()
        assert memory.search(capital.prompt)[0].edit == edit  # reading goes on
        assert memory.verify().ok
        blocker.execute("ROLLBACK")
        blocker.close()
        assert memory.retract(edit.id).version == 2


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_was_taken_away(
    replaced: bool, tmp_path: Path, encoder: HashingEncoder, capital: EditRequest
) -> None:
    file = tmp_path / "memory.db"
    with EditMemory.open(f"sqlite:///{file}", encoder) as memory:
        [edit] = memory.add([capital])
        kept = file.rename(tmp_path / "kept.db")
        if replaced:
            file.write_bytes(b"")
        with pytest.raises(MemoryFailure, match="removed or replaced while in use"):
            memory.add([capital])  # would be acknowledged, and gone with the process
        file.unlink(missing_ok=True)
        kept.rename(file)
        assert memory.list() == [edit]
        assert memory.retract(edit.id).version == 2


def test_a_read_only_database(
    tmp_path: Path, encoder: HashingEncoder, capital: EditRequest
) -> None:
    file = tmp_path / "memory.db"
    with pytest.raises(MemoryFailure):
        EditMemory.open(f"sqlite:///file:{file}?mode=ro&uri=true", encoder)  # nothing there yet
    with EditMemory.open(f"sqlite:///{file}", encoder) as memory:
        [edit] = memory.add([capital])
    with EditMemory.open(f"sqlite:///file:{file}?mode=ro&uri=true", encoder) as memory:
        assert memory.search(capital.prompt)[0].edit == edit
        for call in (lambda: memory.add([capital]), lambda: memory.retract(edit.id)):
            with pytest.raises(MemoryFailure, match="readonly"):
                call()
        assert memory.list() == [edit]


FULL_DISK = """
import resource, signal, sys
from memedit.errors import MemoryFailure
from memedit.memory import EditMemory
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails instead
with EditMemory.open(sys.argv[1], HashingEncoder()) as memory:
    small = EditRequest(prompt="p", subject="p", target_new="t")
    memory.add([small])
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        memory.add([small] * 4_000)
    except MemoryFailure as failure:
        print(failure)
    else:
        sys.exit("the disk was not full")
    print(memory.namespaces()["default"], memory.verify().faults)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    memory.add([small])
    print(memory.namespaces()["default"], memory.verify().faults)
"""


def test_a_full_disk(sqlite_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, sqlite_url],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    failure, full, after = done.stdout.splitlines()
    assert "nothing was changed" in failure
    assert full == "1 ()"
    assert after == "2 ()"
    with EditMemory.open(sqlite_url, HashingEncoder()) as memory:
        assert memory.namespaces() == {"default": 2}
        assert memory.verify().ok


def test_places_where_no_database_can_be(tmp_path: Path, encoder: HashingEncoder) -> None:
    with pytest.raises(MemoryFailure, match="unable to open"):
        EditMemory.open(f"sqlite:///{tmp_path}/missing/memory.db", encoder)
    (tmp_path / "text.db").write_text("this is a letter, not a database" * 100)
    with pytest.raises(MemoryFailure, match="not a database"):
        EditMemory.open(f"sqlite:///{tmp_path}/text.db", encoder)
    with pytest.raises(MemoryFailure):
        EditMemory.open("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2", encoder)


def test_a_schema_of_another_version(sqlite_url: str, encoder: HashingEncoder) -> None:
    EditMemory.open(sqlite_url, encoder).close()
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE memedit_meta SET schema_version = 99")
    connection.close()
    with pytest.raises(MemoryFailure, match="99"):
        EditMemory.open(sqlite_url, encoder)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE memedit_edits SET request = '{'",
        "UPDATE memedit_edits SET status = 'sleeping'",
        "UPDATE memedit_vectors SET vector = x'00'",
    ],
)
def test_damaged_records_are_named(
    sqlite_url: str, encoder: HashingEncoder, capital: EditRequest, damage: str
) -> None:
    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(MemoryFailure, match=edit.ref):
        EditMemory.open(sqlite_url, encoder).get(edit.id)


def test_errors_hold_no_texts_of_edits(
    tmp_path: Path, encoder: HashingEncoder, capital: EditRequest
) -> None:
    file = tmp_path / "memory.db"
    with EditMemory.open(f"sqlite:///{file}", encoder) as memory:
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TABLE memedit_vectors")
        connection.close()
        with pytest.raises(MemoryFailure) as failure:
            memory.add([capital])
        seen: BaseException | None = failure.value
        while seen is not None:
            assert "Zarkania" not in str(seen)
            seen = seen.__cause__ or seen.__context__
        assert memory.list() == []


def test_an_encoder_that_fails_stores_nothing(
    sqlite_url: str, encoder: HashingEncoder, capital: EditRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])
        good = encoder.encode
        for wrong in (
            lambda texts: good(texts)[:, :-1],
            lambda texts: good(texts)[:-1],
            lambda texts: good(texts) * float("nan"),
        ):
            monkeypatch.setattr(encoder, "encode", wrong)
            with pytest.raises(MemoryFailure, match="encoder"):
                memory.add([capital])
            with pytest.raises(MemoryFailure, match="encoder"):
                memory.supersede(edit.id, capital)
        monkeypatch.undo()
        assert memory.list() == [edit]
        assert memory.verify().ok


def test_a_failure_in_the_index_is_mended_by_the_next_refresh(
    sqlite_url: str, encoder: HashingEncoder, capital: EditRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memedit.indexes.faiss_index import FaissIndex

    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])

        def full(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(FaissIndex, "add", full)
        with pytest.raises(MemoryError):
            memory.supersede(edit.id, capital)
        monkeypatch.undo()
        assert memory.search(capital.prompt)[0].edit.version == 2
        assert memory.verify().ok


def test_an_id_that_is_taken_is_made_anew(
    url: str, encoder: HashingEncoder, capital: EditRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EditMemory.open(url, encoder) as memory:
        [edit] = memory.add([capital])
        plain = memory._writer._ids.make
        answers = [[edit.id]]
        monkeypatch.setattr(
            memory._writer._ids, "make", lambda n: answers.pop() if answers else plain(n)
        )
        [second] = memory.add([capital])
        assert second.id != edit.id
        assert len(memory.list()) == 2
        monkeypatch.setattr(memory._writer._ids, "make", lambda n: [edit.id])
        with pytest.raises(MemoryFailure):
            memory.add([capital])
        assert issubclass(DuplicateKey, MemeditError)
        assert memory.verify().ok
