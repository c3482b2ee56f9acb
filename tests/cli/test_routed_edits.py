"""In-context methods as evaluation gets them: with demonstrations, within the model's context."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from memedit.cli.routed_edits import routed_edits
from memedit.config import InContextSettings, Settings
from memedit.incontext.base import estimated_tokens
from memedit.types import EditRequest
from tests.routing.tiny_memory import WordEncoder

FACT = EditRequest(prompt="The capital of France is", subject="France", target_new="Norwick")
OTHER = "Spiders have so many legs:"


@pytest.mark.parametrize("name", ["ike", "ike+always"])
def test_demonstrations_stand_before_the_edit_and_fit_the_model(name: str) -> None:
    settings = Settings.model_construct(
        **{
            **{section: getattr(Settings(), section) for section in Settings.sections},
            "incontext": InContextSettings(demonstration_tokens=100_000),
        }
    )
    with ExitStack() as stack:
        some, every = (
            routed_edits(name, WordEncoder(), settings, stack, context) for context in (800, None)
        )
        texts = []
        for injector in (some, every):
            ids = injector.add([FACT], "case")
            asked, other, stranger = injector.inject(
                [FACT.prompt, OTHER, OTHER], [False] * 3, ["case", "case", "another"]
            )
            assert asked.edits == tuple(ids)
            assert asked.text.endswith(f"New Fact: {FACT.prompt} Norwick.\nPrompt: {FACT.prompt}")
            assert other.edits == (tuple(ids) if name.endswith("+always") else ())
            assert stranger.text == OTHER
            texts.append(asked.text)
    shorter, whole = texts
    assert whole.count("New Fact: ") == 34 and whole.endswith(shorter)
    assert 2 < shorter.count("New Fact: ") < 34
    assert estimated_tokens(shorter) <= 800 - 128
