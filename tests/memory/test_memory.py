"""What the edit memory promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from memedit.errors import (
    ConflictError,
    InvalidInputError,
    MemoryFailure,
    NotFoundError,
    UnknownNameError,
)
from memedit.memory import EditMemory, NewEdit
from memedit.types import EditRequest, Operation, Status
from tests.memory.hashing_encoder import HashingEncoder


def request(n: int, target: str = "nothing") -> EditRequest:
    return EditRequest(
        prompt=f"The colour of item{n} is", subject=f"item{n}", target_new=f"{target}{n}"
    )


def test_an_added_edit_is_there_and_is_found(memory: EditMemory, capital: EditRequest) -> None:
    before = datetime.now(UTC)
    [edit] = memory.add([capital], author="a reader")
    assert edit.id.startswith("e-") and len(edit.id) == 14
    assert (edit.version, edit.status, edit.author) == (1, Status.LIVE, "a reader")
    assert before <= edit.created_at <= datetime.now(UTC)
    assert edit.statement == "The capital of Zarkania is Vorn."
    assert memory.get(edit.id) == memory.get(edit.ref) == memory.get(edit.id, version=1) == edit
    [found] = memory.search("The capital of Zarkania is")
    assert found.edit == edit
    assert found.matched == capital.prompt
    assert found.similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("query", "matched"),
    [
        ("Which city governs Zarkania?", "Which city governs Zarkania?"),
        ("The capital of the Zark Republic is", "The capital of the Zark Republic is"),
        ("The capital of Zarkania is Vorn.", "The capital of Zarkania is Vorn."),
    ],
)
def test_an_edit_is_found_by_each_of_its_texts(
    scratch: EditMemory, capital: EditRequest, query: str, matched: str
) -> None:
    scratch.add([capital])
    [found] = scratch.search(query)
    assert found.matched == matched
    assert found.similarity == pytest.approx(1, abs=1e-5)


def test_everything_of_a_request_is_kept(memory: EditMemory) -> None:
    full = EditRequest(
        prompt="  Où se trouve Łódź-on-Mars?  ",
        subject="Łódź-on-Mars",
        target_new="在火星上 🪐",
        ground_truth="nowhere",
        operation=Operation.ERASE,
        statement="A statement; 'quoted' \"twice\" \\ and\nbroken.",
        rephrases=("one", "two"),
        aliases=("Lodz",),
    )
    berlin = timezone(timedelta(hours=2))
    start = datetime(2030, 1, 1, 12, 30, 15, 123_456, tzinfo=berlin)
    [edit] = memory.add(
        [full], namespace="team/a:1", valid_from=start, valid_to=start + timedelta(days=1)
    )
    kept = memory.get(edit.id)
    assert kept == edit
    assert kept.request == full
    assert kept.valid_from == start
    assert kept.model_dump_json() == edit.model_dump_json()


def test_a_start_needs_no_encoding(url: str, capital: EditRequest) -> None:
    with EditMemory.open(url, HashingEncoder()) as memory:
        edits = memory.add([capital, *map(request, range(30))])
    encoder = HashingEncoder()
    with EditMemory.open(url, encoder) as memory:
        assert memory.list() == edits
        assert memory.namespaces() == {"default": 31}
        assert memory.verify().ok
        assert encoder.encoded == 0
        assert memory.search(capital.prompt)[0].edit == edits[0]


def test_superseding(memory: EditMemory, capital: EditRequest) -> None:
    [first] = memory.add([capital], namespace="n", author="one")
    changed = capital.model_copy(update={"target_new": "Kell", "prompt": "Zarkania is ruled from"})
    second = memory.supersede(first.id, changed, author="two")
    assert (second.id, second.version, second.supersedes) == (first.id, 2, first.ref)
    assert (second.namespace, second.author) == ("n", "two")
    assert memory.get(first.id) == second
    assert memory.get(first.ref).status is Status.SUPERSEDED
    assert [hit.edit for hit in memory.search("Zarkania is ruled from", namespaces=["n"])] == [
        second
    ]
    assert memory.namespaces() == {"n": 1}
    with pytest.raises(ConflictError, match=second.ref):
        memory.supersede(first.ref, capital)
    third = memory.supersede(second.ref, capital)
    assert third.version == 3
    assert memory.verify().ok


def test_retracting(memory: EditMemory, capital: EditRequest) -> None:
    first, other = memory.add([capital, request(1)], author="one")
    gone = memory.retract(first.id, author="two")
    assert (gone.status, gone.author, gone.supersedes) == (Status.RETRACTED, "two", first.ref)
    assert gone.created_at >= first.created_at
    assert [hit.edit for hit in memory.search(capital.prompt)] == [other]
    assert memory.namespaces() == {"default": 1}
    for again in (memory.retract, lambda name: memory.supersede(name, capital)):
        with pytest.raises(ConflictError, match="retracted"):
            again(first.id)
    memory.retract(other.id)
    assert memory.namespaces() == {}
    assert not memory.has_live(["default"])
    assert memory.search(capital.prompt) == []
    assert memory.verify().ok


def test_history_tells_who_and_when(memory: EditMemory, capital: EditRequest) -> None:
    [edit] = memory.add([capital], author="one")
    memory.supersede(edit.id, capital.model_copy(update={"target_new": "Kell"}), author="two")
    memory.retract(edit.id, author="three")
    history = memory.history(edit.id)
    assert [(v.version, v.status, v.author, v.request.target_new) for v in history] == [
        (1, Status.SUPERSEDED, "one", "Vorn"),
        (2, Status.SUPERSEDED, "two", "Kell"),
        (3, Status.RETRACTED, "three", "Kell"),
    ]
    assert [v.supersedes for v in history] == [None, history[0].ref, history[1].ref]
    moments = [v.created_at for v in history]
    assert moments == sorted(moments)


def test_what_is_not_there(memory: EditMemory, capital: EditRequest) -> None:
    [edit] = memory.add([capital])
    for missing in ("e-000000000000", "e-000000000000@1", "nonsense", "", f"{edit.id}@2"):
        with pytest.raises(NotFoundError):
            memory.get(missing)
        with pytest.raises(NotFoundError):
            memory.retract(missing)
        with pytest.raises(NotFoundError):
            memory.supersede(missing, capital)
    with pytest.raises(NotFoundError):
        memory.get(edit.id, version=7)
    with pytest.raises(NotFoundError):
        memory.history("e-000000000000")


def test_pages_hold_everything_once_in_order(memory: EditMemory) -> None:
    edits = memory.add([request(n) for n in range(25)], namespace="a")
    edits += memory.add([request(n) for n in range(5)], namespace="b")
    gone = memory.retract(edits[3].id)
    changed = memory.supersede(edits[8].id, request(99))
    seen, after = [], None
    while page := memory.list(limit=7, after=after):
        assert len(page) <= 7
        seen += page
        after = page[-1].id
    expected = [changed if e.id == changed.id else e for e in edits if e.id != gone.id]
    assert seen == expected
    assert memory.list(namespace="b", limit=100) == edits[25:]
    assert memory.list(status=Status.RETRACTED) == [gone]
    superseded = memory.list(status=Status.SUPERSEDED)
    assert [e.ref for e in superseded] == [edits[3].ref, edits[8].ref]
    assert memory.list(status=Status.SUPERSEDED, after=superseded[0].ref) == superseded[1:]
    newest = memory.list(status=None, limit=1_000)
    assert [e.id for e in newest] == [e.id for e in edits]
    assert newest[3] == gone and newest[8] == changed
    with pytest.raises(InvalidInputError):
        memory.list(limit=0)


def test_namespaces_do_not_see_each_other(memory: EditMemory, capital: EditRequest) -> None:
    [mine] = memory.add([capital], namespace="mine")
    [yours] = memory.add([capital.model_copy(update={"target_new": "Kell"})], namespace="yours")
    assert [hit.edit for hit in memory.search(capital.prompt, namespaces=["mine"])] == [mine]
    both = memory.search(capital.prompt, namespaces=["yours", "mine", "mine", "nobody"])
    assert [hit.edit for hit in both] == [yours, mine]  # equally near: the later one first
    assert memory.search(capital.prompt) == []
    assert memory.has_live(["nobody", "mine"]) and not memory.has_live(["nobody", "default"])
    assert not memory.has_live([])


def test_validity(memory: EditMemory, capital: EditRequest, encoder: HashingEncoder) -> None:
    start = datetime(2030, 5, 1, tzinfo=UTC)
    [edit] = memory.add([capital], valid_from=start, valid_to=start + timedelta(hours=1))
    vectors = encoder.encode([capital.prompt])

    def found(moment: datetime) -> bool:
        return bool(memory.candidates(vectors, [["default"]], 5, moment)[0])

    assert not found(start - timedelta(microseconds=1))
    assert found(start)
    assert not found(start + timedelta(hours=1))
    assert memory.has_live(["default"])  # says nothing about the time
    assert memory.get(edit.id) == edit


def test_one_transaction_for_all(memory: EditMemory, capital: EditRequest) -> None:
    late = datetime(2030, 1, 1, tzinfo=UTC)
    good = NewEdit(capital)
    bad = [
        NewEdit(capital, namespace="no blanks"),
        NewEdit(capital, namespace=""),
        NewEdit(capital, valid_from=late, valid_to=late),
        NewEdit(capital, valid_from=datetime(2030, 1, 1)),  # naive
        NewEdit(capital, author=""),
        NewEdit(capital, author="x" * 257),
        NewEdit(capital.model_copy(update={"target_new": "NUL\0"})),
    ]
    for one in bad:
        with pytest.raises(InvalidInputError):
            memory.add_edits([good, one])
    assert memory.list(status=None) == []
    assert memory.add([]) == []
    assert memory.stats()["seq"] == 0


def test_the_same_edit_again(memory: EditMemory, capital: EditRequest) -> None:
    first, second = memory.add([capital, capital])
    assert first.id != second.id  # stored as often as it is added
    encoded = memory.encoder.encoded  # type: ignore[attr-defined]
    other = request(1)
    back = memory.add([capital, other, other], on_duplicate="return")
    assert back[0] == first
    assert back[1] == back[2] and back[1].request == other
    assert len(memory.list()) == 3
    assert memory.encoder.encoded - encoded == 2  # type: ignore[attr-defined]
    [elsewhere] = memory.add([capital], namespace="other", on_duplicate="return")
    assert elsewhere.id != first.id
    memory.retract(first.id)
    memory.retract(second.id)
    [anew] = memory.add([capital], on_duplicate="return")
    assert anew.id not in (first.id, second.id)
    with pytest.raises(InvalidInputError):
        memory.add([capital], on_duplicate="ignore")  # type: ignore[arg-type]
    assert memory.verify().ok


def test_long_imports_report_progress(scratch: EditMemory) -> None:
    seen: list[tuple[int, int]] = []
    scratch.add([request(n) for n in range(150)], progress=lambda *at: seen.append(at))
    assert seen[-1] == (300, 300)  # prompt and statement of each
    assert seen == sorted(seen) and len(seen) > 2


def test_stats(memory: EditMemory, capital: EditRequest) -> None:
    [edit] = memory.add([capital])
    memory.add([request(1)], namespace="b")
    memory.supersede(edit.id, request(2))
    stats = memory.stats()
    assert stats["edits"] == {"live": 2, "superseded": 1, "retracted": 0}
    assert stats["namespaces"] == {"b": 1, "default": 1}
    assert stats["vectors"] == 4
    assert stats["seq"] == 3
    assert stats["encoder"] == memory.encoder.fingerprint


def test_a_closed_memory_says_so(url: str, encoder: HashingEncoder, capital: EditRequest) -> None:
    memory = EditMemory.open(url, encoder)
    [edit] = memory.add([capital])
    memory.close()
    memory.close()
    for call in (
        lambda: memory.add([capital]),
        lambda: memory.get(edit.id),
        lambda: memory.search("x"),
        lambda: memory.has_live(["default"]),
        lambda: memory.refresh(),
        lambda: memory.retract(edit.id),
        lambda: memory.candidates(np.zeros((0, 64), dtype=np.float32), [], 1, datetime.now(UTC)),
    ):
        with pytest.raises(MemoryFailure, match="closed"):
            call()


@pytest.mark.parametrize("bad", ["nonsense", "mysql://a@b/c", "sqlite", ""])
def test_urls_that_are_none(bad: str, encoder: HashingEncoder) -> None:
    with pytest.raises(InvalidInputError, match="sqlite:///FILE"):
        EditMemory.open(bad, encoder)


def test_an_index_that_is_none(encoder: HashingEncoder, capital: EditRequest) -> None:
    with pytest.raises(UnknownNameError):
        EditMemory.open("sqlite://", encoder, index="flatt")


@pytest.mark.parametrize(
    ("truth", "safe", "said"),
    [
        ("!!", "I don't know.", "no letter or digit"),
        ("Rome", "Not Rome, that much is sure.", "safe answer"),
        ("14 Brook Lane", "It is 14, brook lane.", "safe answer"),
    ],
)
def test_an_erasure_that_could_not_be_kept_is_refused(
    memory: EditMemory, truth: str, safe: str, said: str
) -> None:
    fields = {"prompt": "The home of Ann is", "subject": "Ann", "operation": "erase"}
    bad = EditRequest.model_validate({**fields, "target_new": safe, "ground_truth": truth})
    with pytest.raises(InvalidInputError, match=said) as refused:
        memory.add([bad])
    assert truth not in str(refused.value)
    assert memory.list() == []
    good = EditRequest.model_validate(
        {**fields, "target_new": "I don't know.", "ground_truth": "no"}
    )
    [kept] = memory.add([good])
    worse = good.model_copy(update={"ground_truth": "know"})
    with pytest.raises(InvalidInputError, match="safe answer"):
        memory.supersede(kept.id, worse)
    assert memory.get(kept.id).version == 1
