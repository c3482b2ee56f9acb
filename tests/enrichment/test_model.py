"""What a model says is taken only where it asks the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memedit.enrichment.model import ModelQuestions, lines, messages
from memedit.errors import UpstreamError, UpstreamUnreachable
from memedit.routing.steps import UpstreamReply
from memedit.scope.base import Encoder
from memedit.scope.pair import PairClassifier
from tests.enrichment.parts import SaidModel, edit, nobody

CAPITAL = edit("The capital of Zarkania is", "Zarkania", ground_truth="Old Harbour")


@pytest.fixture(scope="session")
def classifier() -> PairClassifier:
    return PairClassifier()


def questions(ask: Any, encoder: Encoder, classifier: PairClassifier, **more: Any) -> Any:
    return ModelQuestions(ask, encoder, classifier, **more)


def test_only_paraphrases_that_name_the_subject_and_ask_the_same_are_kept(
    encoder: Encoder, classifier: PairClassifier
) -> None:
    said = (
        """1. What is the capital of Zarkania?
    2) "Zarkania's capital city is"
    - the capital of zarkania is
    - What is the capital of Marovia?
    - What is its capital?
    - Who is the head coach of Zarkania?
    * What is the capital of Zarkania?

    Zarkania has its seat of government in
    """
        + "What is the capital of Zarkania? " * 20
    )
    model = SaidModel(lambda body: said)
    made = questions(model, encoder, classifier).make(CAPITAL)
    assert made.texts == (
        "What is the capital of Zarkania?",
        "Zarkania's capital city is",
        "Zarkania has its seat of government in",
    )
    assert made.rejected == 6


def test_a_model_that_babbles_adds_nothing(encoder: Encoder, classifier: PairClassifier) -> None:
    said = "Sure! Here are some ideas:\nZarkania Zarkania Zarkania\nThe weather in Zarkania is"
    made = questions(SaidModel(lambda body: said), encoder, classifier).make(CAPITAL)
    assert made.texts == () and made.rejected == 3


def test_the_model_sees_the_prompt_and_neither_answer(
    encoder: Encoder, classifier: PairClassifier
) -> None:
    model = SaidModel(lambda body: "")
    maker = questions(model, encoder, classifier, most=5)
    maker.make(CAPITAL)
    maker.make(CAPITAL)
    assert model.listed == 1 and len(model.asked) == 2
    [body, again] = model.asked
    assert body == again and body["model"] == "base" and body["temperature"] == 0
    assert body["max_tokens"] == 200
    assert body["messages"] == messages(CAPITAL.request, 5)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"] * 2 + ["user"]
    last = body["messages"][-1]["content"]
    assert "Write 5 other ways" in last and "The capital of Zarkania is" in last
    assert "Vorn" not in json.dumps(body) and "Old Harbour" not in json.dumps(body)
    named = SaidModel(lambda body: "")
    questions(named, encoder, classifier, model="mine").make(CAPITAL)
    assert named.listed == 0 and named.asked[0]["model"] == "mine"


def test_no_more_are_kept_than_were_asked_for(encoder: Encoder, classifier: PairClassifier) -> None:
    said = "What is the capital of Zarkania?\nZarkania's capital is\nName the capital of Zarkania."
    made = questions(SaidModel(lambda body: said), encoder, classifier, most=2).make(CAPITAL)
    assert made.texts == ("What is the capital of Zarkania?", "Zarkania's capital is")


@pytest.mark.parametrize(
    ("prompt", "subject"), [("Never by post", "Never by post"), ("What does she like?", "Ana")]
)
def test_a_prompt_without_a_subject_is_not_asked_about(
    encoder: Encoder, classifier: PairClassifier, prompt: str, subject: str
) -> None:
    assert questions(nobody, encoder, classifier).make(edit(prompt, subject)).texts == ()


def test_failures_say_why_and_quote_nothing(encoder: Encoder, classifier: PairClassifier) -> None:
    secret = SaidModel(lambda body: "Zarkania is secret", status=500)
    with pytest.raises(UpstreamError, match=r"status 500$") as error:
        questions(secret, encoder, classifier).make(CAPITAL)
    assert "secret" not in str(error.value) and "Zarkania" not in str(error.value)
    with pytest.raises(UpstreamUnreachable):
        questions(nobody, encoder, classifier).make(CAPITAL)
    for said in (b"no JSON", b'{"choices": []}', b'{"choices": [{"message": {}}]}', b"[]"):
        with pytest.raises(UpstreamError, match="no chat completion"):
            questions(
                lambda need, said=said: UpstreamReply(200, said), encoder, classifier, model="m"
            ).make(CAPITAL)
    with pytest.raises(UpstreamError, match="holds no text"):
        questions(SaidModel(lambda body: None), encoder, classifier).make(CAPITAL)  # type: ignore[arg-type,return-value]
    empty = SaidModel(lambda body: "")
    empty.cards = []
    with pytest.raises(UpstreamError, match=r"memory\.enrich_model"):
        questions(empty, encoder, classifier).make(CAPITAL)


def test_numbers_bullets_and_quotation_marks_go_and_names_stay() -> None:
    assert lines('1. a\n 2) b\n(3) c\n- d\n* e\n\u2022 f\n"g"\n\n  h   i ') == [
        *"abcdefg",
        "h i",
    ]
    assert lines("1984 was written by\nA. E. Housman's home is\n3 Doors Down's home is") == [
        "1984 was written by",
        "A. E. Housman's home is",
        "3 Doors Down's home is",
    ]
