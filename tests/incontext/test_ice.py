from __future__ import annotations

import pytest

from memedit.incontext.base import Insertion
from memedit.incontext.ice import Ice
from memedit.types import Surface
from tests.routing.tiny_memory import edit


@pytest.mark.parametrize("surface", list(Surface))
def test_the_very_words_the_reference_model_is_trained_on(surface: Surface) -> None:
    insertion = Ice().compose("The capital of France is", [edit()], surface)
    assert insertion == Insertion("Imagine that the capital of France is Norwick.\n")


def test_one_line_per_fact() -> None:
    two = [edit(), edit("Who rules Italy?", "an owl")]
    assert Ice().compose("q", two, Surface.COMPLETION).before == (
        "Imagine that the capital of France is Norwick.\n"
        'Imagine that the answer to "Who rules Italy?" is an owl.\n'
    )
