"""The subject's tokens, in every case in which a length of pieces would be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from memedit.errors import InvalidInputError
from memedit.modeling.forms import chat_form
from memedit.modeling.subject import span_of, subject_span
from memedit.modeling.tokens import Encoded, Tokens, pad
from tests.modeling.families import tiny_tokenizer
from tests.modeling.test_tokens import TEMPLATE


def words(tokenizer: Any, encoded: Encoded, first: int, last: int) -> str:
    decoded: str = tokenizer.decode(encoded.ids[first : last + 1])
    return decoded.strip()


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("The mayor of Paris is", "Paris"),
        ("Paris is the capital of", "Paris"),
        ("In the year, Paris", "Paris"),
        ("Who leads Lyon-sur-Mer?", "Lyon-sur-Mer"),
        ("The song Été à Łódź 🎵 is by", "Été à Łódź 🎵"),
    ],
)
def test_it_is_found_with_and_without_bos(bos: bool, trim: bool, prompt: str, subject: str) -> None:
    tokenizer = tiny_tokenizer(bos=bos, trim=trim)
    encoded, span = subject_span(tokenizer, prompt, subject)
    assert words(tokenizer, encoded, span.first, span.last) == subject


def test_the_last_occurrence_counts_and_whole_words_go_first() -> None:
    tokenizer = tiny_tokenizer()
    encoded, span = subject_span(tokenizer, "Rome, they say, is Rome and not", "Rome")
    assert span.first > 5 and words(tokenizer, encoded, span.first, span.last) == "Rome"
    encoded, span = subject_span(tokenizer, "Rome is where Romeo was", "Rome")
    assert encoded.offsets is not None and encoded.offsets[span.last][1] == len("Rome")
    encoded, span = subject_span(tokenizer, "what Romeo said to", "Rome")
    assert words(tokenizer, encoded, span.first, span.first) == "Rome"


def test_in_a_chat_template_only_the_prompt_is_searched() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    encoded, span = subject_span(
        tokenizer, "Is the assistant in Rome?", "assistant", chat_form(tokenizer)
    )
    assert encoded.offsets is not None
    assert encoded.text.endswith("<|turn|>assistant:")
    assert encoded.offsets[span.last][1] < len(encoded.text) - len("<|turn|>assistant:")
    assert words(tokenizer, encoded, span.first, span.last) == "assistant"


@pytest.mark.parametrize("side", ["left", "right"])
def test_in_a_padded_batch_it_is_shifted_by_the_rows_start(side: Any) -> None:
    tokenizer = tiny_tokenizer()
    found = [
        subject_span(tokenizer, prompt, "Paris")
        for prompt in ("Paris is", "The mayor of the city of Paris is")
    ]
    batch = pad([Tokens(encoded.ids, ()) for encoded, _ in found], tokenizer, side)
    for number, (_, span) in enumerate(found):
        token = int(batch.input_ids[number, span.last + int(batch.starts[number])])
        assert tokenizer.decode([token]).strip() == "Paris"


def test_a_subject_may_begin_a_sentence() -> None:
    tokenizer = tiny_tokenizer()
    encoded, span = subject_span(tokenizer, "The Bahamas is governed from", "the Bahamas")
    assert encoded.offsets is not None and encoded.offsets[span.last][1] == len("The Bahamas")
    exact, last = subject_span(tokenizer, "the Bahamas: The Bahamas", "the Bahamas")
    assert exact.offsets is not None and exact.offsets[last.last][1] == len("the Bahamas")


def test_a_subject_that_is_absent_is_an_error_that_helps() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(InvalidInputError, match="does not hold the subject 'Berlin'"):
        subject_span(tokenizer, "The mayor of Paris is", "Berlin")
    with pytest.raises(InvalidInputError, match="It holds 'Paris'"):
        subject_span(tokenizer, "The mayor of Paris is", "PARIS")
    with pytest.raises(InvalidInputError, match="is empty"):
        subject_span(tokenizer, "The mayor of Paris is", " ")


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="slow one"):
        span_of(Encoded("Paris is", (1, 2), None), "Paris")
