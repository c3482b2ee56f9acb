from __future__ import annotations

import pytest

from memedit.incontext.base import Insertion
from memedit.incontext.memprompt import MemPrompt
from memedit.types import EditRequest, Operation, Surface
from tests.routing.tiny_memory import edit

QUESTION = "What is the capital of France?"


@pytest.mark.parametrize("surface", list(Surface))
def test_the_very_words_the_reference_model_is_trained_on(surface: Surface) -> None:
    from examples.atlas import formats

    fact = "The capital of France is Norwick."
    insertion = MemPrompt().compose("q", [edit(QUESTION, statement=fact)], surface)
    trained = formats.MEMPROMPT.format(question=QUESTION, fact=fact)
    assert insertion == Insertion(f"{trained}\n\n")


def test_a_correction_in_free_words_stands_as_it_was_said() -> None:
    request = EditRequest.feedback(QUESTION, "No,\nit is   Norwick now")
    stored = edit().model_copy(update={"request": request, "statement": request.plain_statement()})
    assert MemPrompt().compose("q", [stored], Surface.CHAT).before == (
        f"{QUESTION}\nCorrection: No, it is Norwick now.\n\n"
    )


def test_several_corrections_each_once_and_an_erased_fact() -> None:
    several = [
        edit(),
        edit("Who owns the moon?", "-", operation=Operation.ERASE),
        edit("the capital of  France is"),
    ]
    assert MemPrompt().compose("q", several, Surface.COMPLETION).before == (
        "The capital of France is\nCorrection: The capital of France is Norwick.\n\n"
        "Who owns the moon?\n"
        'Correction: The answer to "Who owns the moon?" is withheld: reply "I don\'t know".\n\n'
    )
