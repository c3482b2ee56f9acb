"""The memory's gate: which texts may concern a live edit, by words alone."""

from __future__ import annotations

from datetime import UTC, datetime

from memedit.memory import EditMemory
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder

ZARKANIA = "What is the capital of Zarkania?"
FAR = "How do I sort a list?"
SPACE = ("default",)


def river(subject: str = "Arda") -> EditRequest:
    return EditRequest(prompt=f"The river of {subject} is", subject=subject, target_new="Lume")


def test_it_follows_every_change(scratch: EditMemory, capital: EditRequest) -> None:
    assert not scratch.may_concern([ZARKANIA], SPACE)
    edit, arda = scratch.add([capital, river()])
    assert scratch.may_concern([ZARKANIA], SPACE)
    assert scratch.may_concern(["Is the Zark Republic large?"], SPACE), "by alias"
    assert scratch.may_concern([FAR, "Where is Arda?"], SPACE), "any of the texts"
    assert not scratch.may_concern([FAR, "Where is Bree?"], SPACE)
    assert not scratch.may_concern([ZARKANIA], ("other",))
    scratch.supersede(arda.id, river("Bree"))
    assert scratch.may_concern(["Where is Bree?"], SPACE)
    assert not scratch.may_concern(["Where is Arda?"], SPACE)
    scratch.retract(edit.id)
    assert not scratch.may_concern([ZARKANIA], SPACE)
    scratch.add([capital], namespace="other")
    assert scratch.may_concern([ZARKANIA], ("default", "other"))
    assert not scratch.may_concern([ZARKANIA], SPACE)


def test_it_follows_other_processes(url: str, memory: EditMemory, capital: EditRequest) -> None:
    with EditMemory.open(url, HashingEncoder()) as other:
        assert not other.may_concern([ZARKANIA], SPACE)
        [edit] = memory.add([capital])
        other.refresh()
        assert other.may_concern([ZARKANIA], SPACE) and not other.may_concern([FAR], SPACE)
        memory.retract(edit.id)
        other.refresh()
        assert not other.may_concern([ZARKANIA], SPACE)
        memory.add([capital])
        memory.reindex(HashingEncoder())
        other.refresh()
        assert other.may_concern([ZARKANIA], SPACE) and not other.may_concern([FAR], SPACE)


def test_an_edit_that_is_known_by_no_name_holds_its_namespace_open(scratch: EditMemory) -> None:
    scratch.add([river()])
    nameless = [
        EditRequest.feedback("Who leads us?", "The council does."),
        EditRequest(prompt="U+AF9A is followed by", subject="꾚", target_new="U+0041"),
        EditRequest(prompt="Who leads the land?", subject="Zarkania", target_new="Ansa"),
    ]
    for request in nameless:
        assert not scratch.may_concern([FAR], SPACE)
        [edit] = scratch.add([request])
        assert scratch.may_concern([FAR], SPACE) and not scratch.may_concern([FAR], ("other",))
        assert scratch.stats()["gates_held_open_by"]["default"] == 1
        scratch.retract(edit.id)
    scratch.add([EditRequest.feedback("Who leads Bree?", "Ansa does.", subject="Bree")])
    assert not scratch.may_concern([FAR], SPACE) and scratch.may_concern(["About Bree?"], SPACE)


def test_every_stored_prompt_and_rephrase_passes(scratch: EditMemory, capital: EditRequest) -> None:
    unnamed = capital.model_copy(update={"rephrases": ("Which city governs the old land?",)})
    scratch.add([unnamed])
    for text in (unnamed.prompt, *unnamed.rephrases):
        assert scratch.may_concern([text], SPACE)
    assert not scratch.may_concern(["Which city has a port?"], SPACE)


def test_validity_plays_no_part(scratch: EditMemory, capital: EditRequest) -> None:
    scratch.add([capital], valid_to=datetime(2020, 1, 1, tzinfo=UTC))
    assert scratch.may_concern([ZARKANIA], SPACE)
