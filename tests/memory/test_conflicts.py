"""Edits that contradict live ones: detected when they are written, and settled by the policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memedit.errors import ConflictError, InvalidInputError
from memedit.memory import EditMemory, NewEdit
from memedit.memory.conflicts import ConflictPolicy
from memedit.types import (
    Candidate,
    ConflictKind,
    ConflictOutcome,
    Edit,
    EditRequest,
    Operation,
    Status,
)
from tests.memory.hashing_encoder import HashingEncoder

MIDDLE = datetime(2027, 1, 1, tzinfo=UTC)


def fact(
    target: str = "Vorn", prompt: str = "The capital of Zarkania is", **more: Any
) -> EditRequest:
    return EditRequest(prompt=prompt, subject="Zarkania", target_new=target, **more)


def test_another_answer_to_the_same_prompt_is_said_and_both_are_kept(memory: EditMemory) -> None:
    [old] = memory.add([fact()])
    for prompt in ("the capital of  Zarkania is:", "The capital of Zarkania is"):
        added = memory.add([fact(f"Velden {prompt}", prompt)])
        said = [(one.edit, one.against, one.kind, one.outcome) for one in added.conflicts]
        same, kept = ConflictKind.SAME_PROMPT, ConflictOutcome.KEPT
        assert (added[0].ref, old.ref, same, kept) in said
    assert memory.stats()["edits"]["live"] == 3
    assert memory.get(old.id).status is Status.LIVE


@pytest.mark.parametrize(
    "new",
    [
        fact(),
        fact("VORN."),
        fact("Velden", "The river of Zarkania is"),
        EditRequest(prompt="The capital of Marnel is", subject="Marnel", target_new="Velden"),
    ],
)
def test_what_does_not_contradict(scratch: EditMemory, new: EditRequest) -> None:
    scratch.add([fact()])
    assert scratch.add([new]).conflicts == ()


def test_neither_do_other_namespaces_nor_other_times(scratch: EditMemory) -> None:
    scratch.add([fact()], namespace="a", valid_to=MIDDLE)
    assert scratch.add([fact("Velden")], namespace="b").conflicts == ()
    assert scratch.add([fact("Velden")], namespace="a", valid_from=MIDDLE).conflicts == ()
    [one] = scratch.add([fact("Ost")], namespace="a").conflicts[:1]
    assert one.outcome is ConflictOutcome.KEPT


def test_rephrases_aliases_and_erasures_count(scratch: EditMemory) -> None:
    [old] = scratch.add([fact(rephrases=("Which city governs Zarkania?",), aliases=("Zark",))])
    for new in (
        fact("Velden", "Which city governs Zarkania"),
        EditRequest(prompt="The capital of Zark is", subject="Zark", target_new="Velden"),
        fact("I don't know.", operation=Operation.ERASE),
        fact("Velden", "Tell the city", rephrases=("The capital of Zarkania is",)),
    ):
        added = scratch.add([new])
        assert old.ref in [one.against for one in added.conflicts]
        scratch.retract(added[0].id)


def test_an_edit_that_holds_only_later_is_contradicted_too(scratch: EditMemory) -> None:
    [later] = scratch.add([fact()], valid_from=datetime(2999, 1, 1, tzinfo=UTC))
    assert [one.against for one in scratch.add([fact("Velden")]).conflicts] == [later.ref]


def test_superseding_makes_it_the_next_version(memory: EditMemory) -> None:
    [old] = memory.add([fact()], author="one")
    added = memory.add([fact("Velden")], author="two", on_conflict="supersede")
    [new] = added
    assert (new.id, new.version, new.supersedes, new.author) == (old.id, 2, old.ref, "two")
    [said] = added.conflicts
    assert (said.edit, said.against) == (new.ref, old.ref)
    assert said.outcome is ConflictOutcome.SUPERSEDED
    assert [one.status for one in memory.history(old.id)] == [Status.SUPERSEDED, Status.LIVE]
    assert [hit.edit for hit in memory.search(old.request.prompt)] == [new]
    assert memory.verify().ok


def test_superseding_several_leaves_one_alive_and_none_without_a_history(
    memory: EditMemory,
) -> None:
    first, second = (memory.add([fact(name)])[0] for name in ("Vorn", "Ost"))
    added = memory.add([fact("Velden")], on_conflict="supersede", author="two")
    assert added[0].supersedes == second.ref
    assert {one.against: one.outcome for one in added.conflicts} == {
        first.ref: ConflictOutcome.RETRACTED,
        second.ref: ConflictOutcome.SUPERSEDED,
    }
    versions = memory.history(first.id)
    assert [one.status for one in versions] == [Status.SUPERSEDED, Status.RETRACTED]
    assert versions[-1].author == "two" and versions[-1].supersedes == first.ref
    assert memory.namespaces() == {"default": 1}
    assert memory.verify().ok


def test_rejecting_stores_nothing_and_names_the_edit(memory: EditMemory) -> None:
    [old] = memory.add([fact()])
    other = EditRequest(prompt="The river of Marnel is", subject="Marnel", target_new="Tamsin")
    with pytest.raises(ConflictError, match=rf"edit 2 \('Zarkania'\) contradicts {old.ref}"):
        memory.add([other, fact("Velden")], on_conflict="reject")
    assert memory.namespaces() == {"default": 1}
    assert memory.add([other], on_conflict="reject").conflicts == ()
    with pytest.raises(InvalidInputError, match="on_conflict is one of keep, supersede, reject"):
        memory.add([other], on_conflict="ask")  # type: ignore[arg-type]


def test_edits_of_one_call_contradict_each_other(memory: EditMemory) -> None:
    batch = [fact("Vorn"), fact("Ost"), fact("Velden")]
    with pytest.raises(ConflictError, match=r"edit 2 .* contradicts edit 1 beside it"):
        memory.add(batch, on_conflict="reject")
    kept = memory.add(batch, namespace="kept")
    assert len(kept.conflicts) == 3 and memory.namespaces() == {"kept": 3}
    added = memory.add(batch, on_conflict="supersede")
    assert [one.version for one in added] == [1, 2, 3]
    assert len({one.id for one in added}) == 1
    assert [one.status.value for one in added] == ["superseded", "superseded", "live"]
    assert memory.history(added[0].id) == list(added)
    assert memory.namespaces() == {"default": 1, "kept": 3}
    assert memory.verify().ok


def test_the_work_of_superseding_grows_with_the_edits_and_no_faster(
    scratch: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(n: int, target: str) -> list[EditRequest]:
        lands = [f"Land{i:03}" for i in range(n)]
        return [
            EditRequest(prompt=f"The capital of {land} is", subject=land, target_new=target)
            for land in lands
        ]

    looked_at = 0
    ref = Edit.ref.fget

    def counted(edit: Edit) -> str:
        nonlocal looked_at
        looked_at += 1
        return str(ref(edit))

    work = {}
    for n in (20, 80):
        scratch.add(facts(n, "Vorn"), namespace=f"{n}")
        looked_at = 0
        with monkeypatch.context() as patched:
            patched.setattr(Edit, "ref", property(counted))
            # half of them live already, half beside each other in this call
            added = scratch.add(
                [*facts(n, "Ost"), *facts(n, "Dorn")], namespace=f"{n}", on_conflict="supersede"
            )
        assert [one.version for one in added] == [2] * n + [3] * n
        work[n] = looked_at
    assert work[80] <= 6 * work[20]  # four times the edits


def test_an_import_can_be_repeated_under_any_policy(memory: EditMemory) -> None:
    batch = [NewEdit(fact("Vorn")), NewEdit(fact("Velden", "The river of Zarkania is"))]
    for _ in range(2):
        added = memory.add_edits(batch, on_duplicate="return", on_conflict="supersede")
        assert added.conflicts == () and [one.version for one in added] == [1, 1]
    for _ in range(2):
        both = [*batch, NewEdit(fact("Ost"))]
        added = memory.add_edits(both, on_duplicate="return", on_conflict="supersede")
        [alive] = [h.edit for h in memory.search(fact().prompt, k=1)]
        assert alive.request.target_new == "Ost"
    assert memory.namespaces() == {"default": 2}
    assert memory.verify().ok


def judging(probability: float | None, asked: list[tuple[str, str]]) -> Any:
    def judge(pairs: Sequence[tuple[str, Candidate]]) -> list[float | None]:
        asked.extend((prompt, one.edit.request.prompt) for prompt, one in pairs)
        return [probability] * len(pairs)

    return judge


@pytest.mark.parametrize("probability", [0.9, None])
def test_other_words_about_the_subject_are_judged(
    tmp_path: Path, probability: float | None
) -> None:
    asked: list[tuple[str, str]] = []
    policy = ConflictPolicy("supersede", judging(probability, asked))
    url = f"sqlite:///{tmp_path}/edits.db"
    with EditMemory.open(url, HashingEncoder(), conflicts=policy) as memory:
        [old] = memory.add([fact()])
        other = EditRequest(prompt="The capital of Marnel is", subject="Marnel", target_new="Ost")
        assert asked == [] and memory.add([other]).conflicts == ()
        [new] = added = memory.add([fact("Velden", "Zarkania has the capital")])
        assert asked == [("Zarkania has the capital", old.request.prompt)]
        # a guess is reported; nothing goes on the strength of it
        assert memory.get(old.id).status is Status.LIVE and new.version == 1
        assert [(one.kind, one.probability, one.outcome) for one in added.conflicts] == (
            [(ConflictKind.SAME_SUBJECT, 0.9, ConflictOutcome.KEPT)] if probability else []
        )
        if probability:
            with pytest.raises(ConflictError):
                memory.add([fact("Ost", "Zarkania: capital")], on_conflict="reject")


def test_what_another_process_has_just_written_is_contradicted_too(sqlite_url: str) -> None:
    with (
        EditMemory.open(sqlite_url, HashingEncoder()) as one,
        EditMemory.open(sqlite_url, HashingEncoder()) as other,
    ):
        [old] = one.add([fact()])
        mirror = other._writer._mirror
        refresh, calls = mirror.refresh, []

        def late() -> bool:
            if not calls:  # between the search and the transaction
                calls.append(1)
                return False
            return refresh()

        mirror.refresh = late  # type: ignore[method-assign]
        [said] = other.add([fact("Velden")], on_conflict="supersede").conflicts
        assert said.against == old.ref and said.outcome is ConflictOutcome.SUPERSEDED
        mirror.refresh = refresh  # type: ignore[method-assign]
        one.refresh()
        assert one.namespaces() == {"default": 1}
        assert one.verify().ok and other.verify().ok
