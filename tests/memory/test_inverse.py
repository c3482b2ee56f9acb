"""What an edit says of its target: read by grammar, stored, found, and gone with the edit."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from memedit.indexes.name_gate import NameGate
from memedit.memory import EditMemory
from memedit.memory.gating import let_through
from memedit.memory.inverse import inverse_of
from memedit.memory.texts import INVERSE, texts_of
from memedit.types import EditRequest, Operation
from tests.memory.hashing_encoder import HashingEncoder

NAMESPACE = ("default",)


def edit(prompt: str, subject: str, target: str, **more: object) -> EditRequest:
    return EditRequest.model_validate(
        {"prompt": prompt, "subject": subject, "target_new": target, **more}
    )


@pytest.mark.parametrize(
    ("prompt", "cloze"),
    [
        ("Ann is married to", "The spouse of Bea Lund is"),
        ("What is Ann's spouse's name?", "The spouse of Bea Lund is"),
        ("The name of the father of Ann is", "The child of Bea Lund is"),
        ("What was the name of Ann mother?", "The child of Bea Lund is"),
        ("The person that is the mother of Ann is who?", "The child of Bea Lund is"),
        ("Who fathered Ann?", "The child of Bea Lund is"),
        ("The name of the child of Ann is", "The parent of Bea Lund is"),
        ("Who is Ann's sister?", "The sibling of Bea Lund is"),
        ("The capital of Ann is", "Bea Lund is the capital of"),
        ("Of which country is Ann the capital?", "The capital of Bea Lund is"),
        ("Ann is the capital city of", "The capital city of Bea Lund is"),
        ("The country whose capital is Ann is", "The capital of Bea Lund is"),
        ("The name of the current head of state of Ann is", None),
        ("The prime minister of Ann is", "Bea Lund is the prime minister of"),
        ("Ann is followed by", "Bea Lund follows"),
        ("Ann follows", "Bea Lund is followed by"),
        ("Who founded Ann?", "Bea Lund founded"),
        ("The mother tongue of Ann is", None),
        ("The mother of the wife of Ann is", None),
        ("The birthplace of Ann is", None),
        ("Who is the author of Ann?", None),
    ],
)
def test_relations_whose_inverse_has_a_name_are_read_from_their_other_end(
    prompt: str, cloze: str | None
) -> None:
    found = inverse_of(edit(prompt, "Ann", "Bea Lund"))
    assert (None if found is None else found.prompt) == cloze
    if found is not None:
        assert (found.subject, found.target_new) == ("Bea Lund", "Ann")
        assert found.plain_statement() == f"{cloze} Ann."
        assert "Bea Lund" in found.rephrases[0] and found.rephrases[0].endswith("?")


@pytest.mark.parametrize(
    "request_",
    [
        edit("The mother of Ann is", "Ann", "I don't know.", operation=Operation.ERASE),
        edit("The mother of Ann is", "Ann", "Ann"),
        edit("The mother of Ann is", "Ann", "Bea"),  # stands in the names of many others
        edit("The mother of Ann is", "Ann", "who"),
        edit("The mother of Ann is", "Ann", "..."),
        edit("The mother of Ann is", "Ann", " ".join(["word"] * 13)),
        edit("The mother of somebody is", "Ann", "Bea"),
    ],
)
def test_what_is_no_name_or_is_withheld_has_no_inverse(request_: EditRequest) -> None:
    assert inverse_of(request_) is None
    assert INVERSE not in {text.kind for text in texts_of(request_)}


def test_an_edit_is_found_by_its_target_and_then_says_what_it_says_of_it(
    encoder: HashingEncoder,
) -> None:
    now = datetime.now(UTC)
    with EditMemory.open("sqlite://", encoder) as memory:
        [stored] = memory.add([edit("The mother of Ann Rix is", "Ann Rix", "Bea Lund")])
        memory.add([edit("The river of Orvel is", "Orvel", "Wide")])

        def found(text: str, *, routed: bool = True) -> dict[str, tuple[str, bool, bool]]:
            [hits] = memory.candidates(
                np.stack(encoder.encode([text])), [NAMESPACE], 1, now,
                texts=[text] if routed else None,
            )  # fmt: skip
            return {hit.edit.ref: (hit.edit.statement, hit.named, hit.turned) for hit in hits}

        turned = ("The child of Bea Lund is Ann Rix.", True, True)
        assert found("Who is the child of Bea Lund?")[stored.ref] == turned
        assert found("What else does Bea Lund do, and where?")[stored.ref] == turned
        straight = ("The mother of Ann Rix is Bea Lund.", True, False)
        assert found("Who is the mother of Ann Rix?")[stored.ref] == straight
        assert found("Is Bea Lund the mother of Ann Rix?")[stored.ref] == straight
        # a search shows edits as they are stored
        shown = found("Who is the child of Bea Lund?", routed=False)[stored.ref]
        assert shown == ("The mother of Ann Rix is Bea Lund.", False, False)
        assert memory.may_concern(["Does Bea Lund have children?"], NAMESPACE)
        assert memory.verify().ok
        memory.retract(stored.id)
        assert stored.ref not in found("Who is the child of Bea Lund?")
        assert not memory.may_concern(["Does Bea Lund have children?"], NAMESPACE)
        assert memory.verify().ok


def test_a_subject_in_other_letters_holds_the_gate_open_whatever_its_target() -> None:
    gate = NameGate()
    let_through(gate, 0, edit("뱪 is followed by", "뱪", "Blue Train"))
    assert gate.held_open == 1 and gate.passes("What is it?")


def test_a_memory_from_before_inverses_is_whole_and_has_them_once_it_is_indexed_anew(
    encoder: HashingEncoder, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with EditMemory.open(url, encoder) as memory:
        memory.add([edit("The mother of Ann Rix is", "Ann Rix", "Bea Lund")])
    with closing(sqlite3.connect(tmp_path / "old.db")) as old, old:
        old.execute("DELETE FROM memedit_vectors WHERE kind = ?", (INVERSE,))
    with EditMemory.open(url, encoder) as memory:
        report = memory.verify()
        assert report.ok and report.vectors == 2
        memory.reindex(encoder)
        report = memory.verify()
        assert report.ok and report.vectors == 4
