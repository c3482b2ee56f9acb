"""Several openings of one database: each finds what the others commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memedit.errors import ConflictError, EncoderMismatchError
from memedit.memory import EditMemory
from memedit.types import EditRequest, Status
from tests.memory.hashing_encoder import HashingEncoder


@pytest.fixture
def other(url: str, memory: EditMemory) -> Iterator[EditMemory]:
    with EditMemory.open(url, HashingEncoder()) as opened:
        yield opened


def test_refresh_takes_over_every_kind_of_change(
    memory: EditMemory, other: EditMemory, capital: EditRequest
) -> None:
    assert not other.refresh()
    first, second = memory.add([capital, capital], namespace="n")
    assert not other.has_live(["n"])
    assert other.refresh()
    assert not other.refresh()
    assert other.namespaces() == {"n": 2}
    changed = memory.supersede(first.id, capital.model_copy(update={"target_new": "Kell"}))
    memory.retract(second.id)
    assert [hit.edit for hit in other.search(capital.prompt, namespaces=["n"])] == [changed]
    assert other.verify().ok
    with pytest.raises(ConflictError):
        other.retract(second.id)


def test_refresh_reads_only_what_is_new(
    memory: EditMemory, other: EditMemory, capital: EditRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memedit.memory import store

    memory.add([capital] * 50)
    other.refresh()
    read: list[int] = []
    plain = store.read_changes

    def counting(connection, after, dim):  # type: ignore[no-untyped-def]
        for change in plain(connection, after, dim):
            read.append(change.seq)
            yield change

    def forbidden(*_: object) -> None:
        raise AssertionError("everything is read anew")

    monkeypatch.setattr(store, "read_changes", counting)
    monkeypatch.setattr(store, "read_live", forbidden)
    memory.add([capital])
    assert other.refresh()
    assert read == [51]


def test_writers_take_turns(memory: EditMemory, other: EditMemory, capital: EditRequest) -> None:
    for n in range(10):
        memory.add([capital], author=f"one {n}")
        other.add([capital, capital], author=f"two {n}")
    assert memory.refresh()
    assert memory.namespaces() == other.namespaces() == {"default": 30}
    assert memory.verify().ok and other.verify().ok
    assert memory.stats()["seq"] == other.stats()["seq"] == 30


def test_what_was_added_and_retracted_between_two_refreshes(
    memory: EditMemory, other: EditMemory, capital: EditRequest
) -> None:
    [edit] = memory.add([capital])
    memory.supersede(edit.id, capital)
    memory.retract(edit.id)
    assert other.refresh()
    assert other.namespaces() == {}
    assert [v.status for v in other.history(edit.id)][-1] is Status.RETRACTED
    assert other.verify().ok


def test_own_commits_are_no_news(memory: EditMemory, capital: EditRequest) -> None:
    memory.add([capital])
    assert not memory.refresh()


def test_another_process(sqlite_url: str, capital: EditRequest) -> None:
    program = (
        "import sys; from memedit.memory import EditMemory; from memedit.types import EditRequest\n"
        "from tests.memory.hashing_encoder import HashingEncoder\n"
        "with EditMemory.open(sys.argv[1], HashingEncoder()) as memory:\n"
        "    print(memory.add([EditRequest(prompt='p', subject='s', target_new='t')])[0].id)\n"
    )
    with EditMemory.open(sqlite_url, HashingEncoder()) as memory:
        memory.add([capital])
        done = subprocess.run(
            [sys.executable, "-c", program, sqlite_url],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert memory.refresh()
        assert memory.search("p", k=1)[0].edit.id == done.stdout.strip()


def test_another_encoder_is_refused(url: str, memory: EditMemory, capital: EditRequest) -> None:
    memory.add([capital])
    for stranger in (HashingEncoder(name="other"), HashingEncoder(dim=32)):
        with pytest.raises(EncoderMismatchError, match="memedit reindex"):
            EditMemory.open(url, stranger)


def test_an_empty_memory_takes_any_encoder(
    url: str, memory: EditMemory, capital: EditRequest
) -> None:
    [edit] = memory.add([capital])
    memory.retract(edit.id)
    with EditMemory.open(url, HashingEncoder(dim=32)) as changed:
        changed.add([capital])
        assert changed.verify().ok
    with pytest.raises(EncoderMismatchError):
        memory.add([capital])  # opened with what was the encoder then


def test_reindex(url: str, memory: EditMemory, other: EditMemory, capital: EditRequest) -> None:
    first, second = memory.add([capital, capital.model_copy(update={"prompt": "Vorn lies in"})])
    memory.retract(second.id)
    larger = HashingEncoder(dim=128)
    assert memory.reindex(larger) == 1
    assert memory.encoder is larger
    assert memory.search(capital.prompt)[0].edit == first
    assert memory.verify().ok
    memory.add([capital])
    with pytest.raises(EncoderMismatchError):
        other.refresh()
    with pytest.raises(EncoderMismatchError):
        other.add([capital])
    with EditMemory.open(url, HashingEncoder(dim=128)) as third:
        assert third.namespaces() == {"default": 2}
    with EditMemory.open(url, HashingEncoder(dim=16), reindex=True) as fourth:
        assert fourth.search(capital.prompt)[-1].similarity == pytest.approx(1, abs=1e-5)
        assert fourth.verify().ok
    with pytest.raises(EncoderMismatchError):
        memory.refresh()
