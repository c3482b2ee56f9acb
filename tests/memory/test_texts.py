from __future__ import annotations

from memedit.memory.texts import EditText, texts_of
from memedit.types import EditRequest


def test_each_text_once_with_its_kind() -> None:
    request = EditRequest(
        prompt="Who founded Lumen Harbour?",
        subject="Lumen Harbour",
        target_new="Ansa",
        rephrases=("By whom was it founded?", "Who founded Lumen Harbour?"),
        aliases=("the Port", "Lumen Harbour"),
    )
    assert texts_of(request) == (
        EditText("prompt", "Who founded Lumen Harbour?"),
        EditText("statement", "Who founded Lumen Harbour? Ansa"),
        EditText("rephrase", "By whom was it founded?"),
        EditText("alias", "Who founded the Port?"),
        EditText("inverse", "Ansa founded"),
        EditText("inverse", "What did Ansa found?"),
    )


def test_aliases_add_nothing_where_the_prompt_does_not_name_the_subject() -> None:
    request = EditRequest(prompt="Who?", subject="Lumen", target_new="x", aliases=("the Port",))
    assert [text.kind for text in texts_of(request)] == ["prompt", "statement"]


def test_the_most_texts_fit_into_the_keys() -> None:
    request = EditRequest(
        prompt="S",
        subject="S",
        target_new="t",
        rephrases=tuple(f"r{n}" for n in range(64)),
        aliases=tuple(f"a{n}" for n in range(64)),
    )
    assert len(texts_of(request)) == 130 <= 256
