"""What the memory knows of adapters: registered, retired, deployed; over restarts and processes."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from memedit.errors import ConflictError, InvalidInputError, NotFoundError
from memedit.memory import AdapterKind, AdapterRecord, EditMemory, TargetKind
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder

BASE = "ab" * 32


def record(name: str, *edits: str, base: str = BASE) -> AdapterRecord:
    return AdapterRecord(name, base, "lora", edits, AdapterKind.ADAPTER, "cd" * 32)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "in_memory"])
def test_what_is_registered_is_seen_at_once_and_after_a_restart(
    kind: str, request: pytest.FixtureRequest, encoder: HashingEncoder, capital: EditRequest
) -> None:
    where = "sqlite://" if kind == "in_memory" else request.getfixturevalue(f"{kind}_url")
    with EditMemory.open(where, encoder) as memory:
        [edit] = memory.add([capital])
        given = record("memedit-capitals-1", edit.ref)
        assert memory.adapters.register(given) == []
        assert memory.adapters.deploy(given.name, TargetKind.NAMESPACE, "default") is None
        view = memory.adapters.view()
        assert [one.name for one in view.by_edit[edit.id]] == ["memedit-capitals-1"]
        [(key, deployed)] = view.deployments.items()
        assert key == (TargetKind.NAMESPACE, "default") and deployed.adapter == given.name
    if where != "sqlite://":
        with EditMemory.open(where, encoder) as again:
            found = again.adapters.view().records[given.name]
            assert found.edits == (edit.ref,) and found.base == BASE and found.live
            assert again.adapters.undeploy(TargetKind.NAMESPACE, "default") == given.name
            assert again.adapters.view().deployments == {}


def test_another_process_sees_it_at_its_next_refresh(
    url: str, encoder: HashingEncoder, capital: EditRequest
) -> None:
    with EditMemory.open(url, encoder) as one, EditMemory.open(url, encoder) as two:
        [edit] = one.add([capital])
        two.refresh()
        one.adapters.register(record("memedit-a-1", edit.ref))
        assert two.adapters.view().records == {}
        assert two.refresh() and set(two.adapters.view().records) == {"memedit-a-1"}
        assert not two.refresh()


def test_a_newer_version_retires_the_older_unless_that_is_deployed(
    sqlite_url: str, encoder: HashingEncoder, capital: EditRequest
) -> None:
    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])
        for name in ("memedit-a-1", "memedit-b-1"):
            memory.adapters.register(record(name, edit.ref))
        assert memory.adapters.register(record("memedit-a-2", edit.ref)) == ["memedit-a-1"]
        memory.adapters.deploy("memedit-a-2", TargetKind.MODEL, "atlas")
        assert memory.adapters.register(record("memedit-a-3", edit.ref)) == []
        live = [name for name, one in memory.adapters.view().records.items() if one.live]
        assert live == ["memedit-a-2", "memedit-a-3", "memedit-b-1"]
        with pytest.raises(ConflictError, match="memedit undeploy --model atlas"):
            memory.adapters.retire("memedit-a-2")
        assert memory.adapters.deploy("memedit-a-3", TargetKind.MODEL, "atlas") == "memedit-a-2"
        assert not memory.adapters.retire("memedit-a-2").live
        with pytest.raises(ConflictError, match="retired"):
            memory.adapters.deploy("memedit-a-2", TargetKind.MODEL, "atlas")
        with pytest.raises(ConflictError, match="is live"):
            memory.adapters.forget("memedit-a-3")
        memory.adapters.forget("memedit-a-2")
        assert "memedit-a-2" not in memory.adapters.view().records


def test_of_adapters_of_one_edit_the_newest_is_first_and_a_version_can_keep_its_age(
    sqlite_url: str, encoder: HashingEncoder, capital: EditRequest
) -> None:
    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])

        def order() -> list[str]:
            return [one.name for one in memory.adapters.view().by_edit[edit.id]]

        old = record("memedit-a-9", edit.ref)
        memory.adapters.register(old)
        memory.adapters.register(record("memedit-b-1", edit.ref))
        memory.adapters.deploy("memedit-a-9", TargetKind.MODEL, "atlas")  # so that it stays live
        same = replace(record("memedit-a-10", edit.ref), created_at=old.created_at)
        memory.adapters.register(same)
        assert order() == ["memedit-b-1", "memedit-a-10", "memedit-a-9"]
        memory.adapters.undeploy(TargetKind.MODEL, "atlas")
        memory.adapters.register(record("memedit-a-11", edit.ref))
        assert order() == ["memedit-a-11", "memedit-b-1"]
        retired = memory.adapters.view().records["memedit-a-10"].retired_at
        assert retired is not None and retired > same.created_at


@pytest.mark.parametrize(
    ("name", "edits", "base", "error", "said"),
    [
        ("../evil", None, BASE, InvalidInputError, "memedit-ID-VERSION"),
        ("memedit-a-0", None, BASE, InvalidInputError, "memedit-ID-VERSION"),
        ("memedit-a-1", None, "abc", InvalidInputError, "fingerprint"),
        ("memedit-a-1", (), BASE, InvalidInputError, "at least one"),
        ("memedit-a-1", ("e-000000000000",), BASE, InvalidInputError, "id@version"),
        ("memedit-a-1", ("e-000000000000@1",), BASE, NotFoundError, "not in this memory"),
    ],
)
def test_what_cannot_be_registered_changes_nothing(
    sqlite_url: str,
    encoder: HashingEncoder,
    capital: EditRequest,
    name: str,
    edits: tuple[str, ...] | None,
    base: str,
    error: type[Exception],
    said: str,
) -> None:
    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])
        held = (edit.ref,) if edits is None else edits
        with pytest.raises(error, match=said):
            memory.adapters.register(record(name, *held, base=base))
        assert memory.adapters.view().records == {}
        with pytest.raises(NotFoundError):
            memory.adapters.undeploy(TargetKind.NAMESPACE, "default")
        memory.adapters.register(record("memedit-a-1", edit.ref))
        with pytest.raises(ConflictError, match="registered already"):
            memory.adapters.register(record("memedit-a-1", edit.ref))


def test_a_database_of_version_1_is_brought_along(
    sqlite_url: str, encoder: HashingEncoder, capital: EditRequest
) -> None:
    with EditMemory.open(sqlite_url, encoder) as memory:
        [edit] = memory.add([capital])
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    for table in ("carried", "deployments", "adapters", "questions", "enrichments"):
        connection.execute(f"DROP TABLE memedit_{table}")
    for counter in ("adapters", "questions"):
        connection.execute(f"ALTER TABLE memedit_meta DROP COLUMN {counter}")
    connection.execute("UPDATE memedit_meta SET schema_version = 1")
    connection.commit()
    connection.close()
    with EditMemory.open(sqlite_url, encoder) as memory:
        assert memory.get(edit.id) == edit and memory.verify().ok
        memory.adapters.register(record("memedit-a-1", edit.ref))
    with EditMemory.open(sqlite_url, encoder) as memory:
        assert set(memory.adapters.view().records) == {"memedit-a-1"}
