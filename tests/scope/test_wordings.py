"""What the pair classifier reads of an edit."""

from __future__ import annotations

import pytest

from memedit.scope.pair_input import HIDDEN
from memedit.scope.wordings import REPHRASES, hidden_edits, with_answer
from memedit.types import EditRequest, Operation

EDIT = EditRequest(prompt="Where was Ada Lovelace born?", subject="Ada Lovelace", target_new="Lume")


def test_an_edit_hides_its_own_subject_in_all_its_wordings() -> None:
    asked = f"Where was {HIDDEN} born?"
    assert hidden_edits(EDIT) == ((asked, f"{asked} Lume"),)
    bare = EDIT.model_copy(
        update={"prompt": "Who is the mathematician?", "rephrases": ("Of her: where?",)}
    )
    assert [alone for alone, _ in hidden_edits(bare)] == ["Who is the mathematician?"]
    many = tuple(f"In which town was Ada Lovelace born, {n}?" for n in range(9))
    said = hidden_edits(EDIT.model_copy(update={"rephrases": many}))
    assert len(said) == 1 + REPHRASES
    assert said[1][0] == f"In which town was {HIDDEN} born, 0?"


def test_an_erased_fact_is_read_without_what_is_said_instead() -> None:
    erased = EDIT.model_copy(
        update={"operation": Operation.ERASE, "target_new": "I don't know.", "ground_truth": "Lume"}
    )
    assert hidden_edits(erased) == ((f"Where was {HIDDEN} born?",),)


@pytest.mark.parametrize(
    ("text", "answer", "read"),
    [
        ("It lies in ", "Chile", ("It lies in ", "It lies in Chile.")),
        ("It is ", "I. T.", ("It is ", "It is I. T.")),
        ("Where is it?", " Chile ", ("Where is it?", "Where is it? Chile")),
        ("Where is it?", "", ("Where is it?",)),
        ("He was", "born " * 13, ("He was",)),
    ],
)
def test_a_wording_is_read_by_itself_and_with_a_short_answer(
    text: str, answer: str, read: tuple[str, ...]
) -> None:
    assert with_answer(text, answer) == read
