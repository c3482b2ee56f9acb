"""Generated questions: found like an edit's own texts, gone with the version they were made for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from memedit.errors import InvalidInputError
from memedit.memory import EditMemory, Generated, edit_lines
from memedit.memory.questions import MOST_QUESTIONS
from memedit.types import Edit, EditRequest
from tests.memory.hashing_encoder import HashingEncoder

GENERATED = "Whereabouts sits government over Zarkania?"
TABLES = ("memedit_questions", "memedit_enrichments")


@pytest.fixture
def edit(memory: EditMemory, capital: EditRequest) -> Edit:
    [added] = memory.add([capital])
    return added


def best(memory: EditMemory) -> tuple[str, float] | None:
    """Ask exactly what was generated: what is found, and how near."""
    hits = memory.search(GENERATED, k=1)
    return (hits[0].matched, round(hits[0].similarity, 4)) if hits else None


def rows(url: str, encoder: HashingEncoder) -> dict[str, int]:
    """Count what the tables hold, past all of memedit."""
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return {
                table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in TABLES
            }
    finally:
        engine.dispose()


def test_a_generated_question_finds_its_edit_here_in_other_processes_and_after_a_restart(
    memory: EditMemory, edit: Edit, url: str, encoder: HashingEncoder
) -> None:
    before = best(memory)
    assert before is not None and before[1] < 0.9
    with EditMemory.open(url, encoder) as other:
        assert best(other) == before
        made = Generated(edit.ref, "templates", (GENERATED, edit.request.prompt))
        # what the edit says itself is not stored twice
        assert memory.questions.store([made]) == {edit.ref: 1}
        assert best(memory) == (GENERATED, 1.0)
        assert other.refresh() and best(other) == (GENERATED, 1.0)
        assert other.verify().ok
    with EditMemory.open(url, encoder) as again:
        assert best(again) == (GENERATED, 1.0)
        assert again.questions.of(edit.id) == Generated(edit.ref, "templates", (GENERATED,))
        assert again.verify().ok and again.stats()["generated_questions"] == 1


def test_the_edit_and_its_export_stay_the_users_own_words(
    memory: EditMemory, edit: Edit, capital: EditRequest
) -> None:
    before = list(edit_lines(memory))
    memory.questions.store([Generated(edit.ref, "model", (GENERATED,))])
    assert memory.get(edit.id) == edit and memory.history(edit.id) == [edit]
    assert memory.search(GENERATED)[0].edit.request == capital
    assert list(edit_lines(memory)) == before and GENERATED not in before[0]


@pytest.mark.parametrize("how", ["retract", "supersede", "import"])
def test_they_vanish_with_the_version(
    memory: EditMemory,
    edit: Edit,
    capital: EditRequest,
    how: str,
    url: str,
    encoder: HashingEncoder,
) -> None:
    memory.questions.store([Generated(edit.ref, "templates", (GENERATED,))])
    assert rows(url, encoder) == dict.fromkeys(TABLES, 1)
    newer = capital.model_copy(update={"target_new": "Kell"})
    with EditMemory.open(url, encoder) as other:
        if how == "retract":
            other.retract(edit.id)
        elif how == "supersede":
            other.supersede(edit.id, newer)
        else:
            other.add([newer], on_conflict="supersede")
        assert rows(url, encoder) == dict.fromkeys(TABLES, 0)
        memory.refresh()
        for one in (memory, other):
            found = best(one)
            assert found is None if how == "retract" else found is not None and found[1] < 0.9
            assert one.questions.of(edit.id) is None and one.verify().ok
            assert one.stats()["generated_questions"] == 0
    # made for a version that is gone by now
    assert memory.questions.store([Generated(edit.ref, "templates", (GENERATED,))]) == {}
    assert rows(url, encoder) == dict.fromkeys(TABLES, 0)
    if how != "retract":
        [there] = memory.questions.missing("templates")
        assert there.version == 2
        assert memory.questions.store([Generated(there.ref, "templates", (GENERATED,))])
        assert best(memory) == (GENERATED, 1.0)


def test_an_expired_edit_is_not_found_by_them_and_its_rows_go(
    memory: EditMemory, capital: EditRequest, url: str, encoder: HashingEncoder
) -> None:
    now = datetime.now(UTC)
    [edit] = memory.add([capital], valid_to=now + timedelta(seconds=3))
    [over] = memory.add([capital], valid_to=now - timedelta(seconds=1))
    assert memory.questions.store([Generated(edit.ref, "templates", (GENERATED,))])
    assert memory.questions.store([Generated(over.ref, "templates", (GENERATED,))]) == {}
    assert [one.id for one in memory.questions.missing("templates")] == []
    assert best(memory) == (GENERATED, 1.0)
    vectors = memory.encoder.encode([GENERATED])
    later = now + timedelta(seconds=4)
    assert memory.candidates(vectors, [("default",)], 5, later, texts=[GENERATED]) == [()]
    with EditMemory.open(url, encoder) as other:
        while datetime.now(UTC) <= now + timedelta(seconds=3):
            pass
        assert best(memory) is None
        assert memory.questions.forget_expired() == 1 and memory.questions.forget_expired() == 0
        assert rows(url, encoder)["memedit_questions"] == 0
        assert other.refresh() and other.verify().ok and memory.verify().ok


def test_a_later_set_replaces_the_one_before_and_an_empty_one_is_remembered(
    memory: EditMemory, edit: Edit, url: str, encoder: HashingEncoder
) -> None:
    with EditMemory.open(url, encoder) as other:
        first = tuple(f"question {number} about Zarkania" for number in range(MOST_QUESTIONS))
        memory.questions.store([Generated(edit.ref, "templates", first)])
        memory.questions.store([Generated(edit.ref, "model", (GENERATED,))])
        other.refresh()
        for one in (memory, other):
            assert one.questions.all() == [Generated(edit.ref, "model", (GENERATED,))]
            assert best(one) == (GENERATED, 1.0) and one.verify().ok
            assert one.search(first[3])[0].matched not in first
        assert memory.questions.missing("model") == []
        assert [one.id for one in memory.questions.missing("templates")] == [edit.id]
        memory.questions.store([Generated(edit.ref, "templates", ())])
        other.refresh()
        assert other.stats()["generated_questions"] == 0 and other.verify().ok
        assert memory.questions.missing("templates") == []


def test_pages_of_missing_edits_and_namespaces(memory: EditMemory, capital: EditRequest) -> None:
    here = memory.add([capital] * 3)
    [there] = memory.add([capital], namespace="elsewhere")
    memory.questions.store([Generated(here[1].ref, "templates", (GENERATED,))])
    assert [e.id for e in memory.questions.missing("templates", namespace="default")] == [
        here[0].id,
        here[2].id,
    ]
    page = memory.questions.missing("templates", limit=1, after=here[0].id)
    assert [e.id for e in page] == [here[2].id]
    memory.questions.store([Generated(there.ref, "templates", (GENERATED,))])
    assert memory.questions.clear("elsewhere") == 1
    assert memory.search(GENERATED, namespaces=["elsewhere"])[0].matched != GENERATED
    assert best(memory) == (GENERATED, 1.0)
    assert memory.questions.clear() == 1 and memory.questions.all() == []
    assert memory.verify().ok and memory.stats()["generated_questions"] == 0


def test_reindex_encodes_them_as_well(memory: EditMemory, edit: Edit, url: str) -> None:
    memory.questions.store([Generated(edit.ref, "templates", (GENERATED,))])
    wider = HashingEncoder(96, "wider")
    memory.reindex(wider)
    assert best(memory) == (GENERATED, 1.0) and memory.verify().ok
    with EditMemory.open(url, wider) as again:
        assert best(again) == (GENERATED, 1.0) and again.verify().ok


@pytest.mark.parametrize(
    ("ref", "method", "texts", "said"),
    [
        ("", "templates", ("x",), "names no edit"),
        ("e-0123456789ab", "templates", ("x",), "one version"),
        ("e-0123456789ab@1", "", ("x",), "1 to 16"),
        ("e-0123456789ab@1", "templates", (" ",), "empty"),
        ("e-0123456789ab@1", "templates", ("a\0b",), "NUL"),
        ("e-0123456789ab@1", "templates", ("x" * 5_000,), "longer"),
        ("e-0123456789ab@1", "templates", ("x",) * 33, "at most 32"),
    ],
)
def test_what_cannot_be_stored_is_said(
    scratch: EditMemory, ref: str, method: str, texts: tuple[str, ...], said: str
) -> None:
    from memedit.errors import MemeditError

    with pytest.raises(MemeditError, match=said) as error:
        scratch.questions.store([Generated(ref, method, texts)])
    assert isinstance(error.value, InvalidInputError) or said == "names no edit"


def test_verify_notices_a_question_that_was_tampered_with(
    memory: EditMemory, edit: Edit, url: str
) -> None:
    memory.questions.store([Generated(edit.ref, "templates", (GENERATED,))])
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE memedit_questions SET text = 'another'"))
    engine.dispose()
    assert "not those of the index" in " ".join(memory.verify().faults)


@pytest.fixture
def version_2(url: str, encoder: HashingEncoder, capital: EditRequest) -> Iterator[Any]:
    """A database as it was before there were questions."""
    with EditMemory.open(url, encoder) as memory:
        memory.add([capital])
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("ALTER TABLE memedit_meta DROP COLUMN questions"))
        connection.execute(text("UPDATE memedit_meta SET schema_version = 2"))
    engine.dispose()
    yield url


def test_a_database_of_version_2_is_brought_along(version_2: str, encoder: HashingEncoder) -> None:
    with EditMemory.open(version_2, encoder) as memory:
        [edit] = memory.list()
        assert memory.verify().ok and memory.questions.of(edit.id) is None
        memory.questions.store([Generated(edit.ref, "templates", (GENERATED,))])
    with EditMemory.open(version_2, encoder) as memory:
        assert best(memory) == (GENERATED, 1.0) and memory.verify().ok
