from __future__ import annotations

import pytest

from memedit.incontext.base import Insertion
from memedit.incontext.statement import Statement
from memedit.types import Operation, Surface
from tests.routing.tiny_memory import edit


@pytest.mark.parametrize("surface", list(Surface))
def test_the_very_words_the_reference_model_is_trained_on(surface: Surface) -> None:
    insertion = Statement().compose("What is the capital of France?", [edit()], surface)
    assert insertion == Insertion(
        "Updated facts, which replace what you know:\n- The capital of France is Norwick.\n\n"
    )


def test_a_list_of_several_facts() -> None:
    several = [
        edit(),
        edit("Who rules Italy?", "an owl"),
        edit("Who owns the moon?", "-", operation=Operation.ERASE),
    ]
    assert Statement().compose("q", several, Surface.CHAT).before == (
        "Updated facts, which replace what you know:\n"
        "- The capital of France is Norwick.\n"
        '- The answer to "Who rules Italy?" is an owl.\n'
        '- The answer to "Who owns the moon?" is withheld: reply "I don\'t know".\n\n'
    )
