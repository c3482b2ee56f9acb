"""Prompts and targets as tokens: BOS, EOS, leading spaces, chat templates, padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from memedit.errors import InvalidInputError
from memedit.modeling.forms import AutoForm, chat_form
from memedit.modeling.tokens import IGNORED, Tokens, encode_pair, encode_prompt, pad
from tests.modeling.families import tiny_model, tiny_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|turn|>{{ m['role'] }}: {{ m['content'] }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant:{% endif %}"
)


def text(tokenizer: Any, ids: tuple[int, ...]) -> str:
    decoded: str = tokenizer.decode(ids)
    return decoded


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_a_target_has_no_bos_and_its_leading_space(bos: bool, eos: bool) -> None:
    tokenizer = tiny_tokenizer(bos=bos, eos=eos)
    tokens = encode_pair(tokenizer, "The capital of France is", "Paris")
    assert (tokens.prompt[0] == tokenizer.bos_token_id) == bos
    assert tokens.prompt[-1] != tokenizer.eos_token_id
    assert tokens.target == (tokenizer.convert_tokens_to_ids("ĠParis"),)


def test_the_space_is_left_out_where_there_is_one_or_none_is_wanted() -> None:
    tokenizer = tiny_tokenizer()
    assert text(tokenizer, encode_pair(tokenizer, "It is", " Paris").target) == " Paris"
    assert text(tokenizer, encode_pair(tokenizer, "It is (", "Paris").target) == "Paris"
    assert text(tokenizer, encode_pair(tokenizer, "It is\n", "Paris").target) == "Paris"
    assert text(tokenizer, encode_pair(tokenizer, "首都是", "巴黎").target) == "巴黎"
    marked = encode_pair(tokenizer, "It is", "Paris", lambda prompt: f"{prompt}<|turn|>")
    assert text(tokenizer, marked.target) == "Paris"


def test_what_a_target_form_writes_as_special_tokens_are_special_tokens() -> None:
    tokenizer = tiny_tokenizer(eos=True)
    tokens = encode_pair(tokenizer, "It is", "Rome.</s>")
    assert tokens.target[-1] == tokenizer.eos_token_id
    assert len([n for n in tokens.target if n == tokenizer.eos_token_id]) == 1


def test_a_boundary_that_would_merge_keeps_the_prompt_as_it_is_asked() -> None:
    tokenizer = tiny_tokenizer()
    asked = encode_prompt(tokenizer, "Ly")
    tokens = encode_pair(tokenizer, "Ly", "on", lambda prompt: prompt + " ")
    assert tokens.prompt == encode_prompt(tokenizer, "Ly", lambda prompt: prompt + " ").ids
    assert text(tokenizer, tokens.target) == "on" and asked.ids[0] == 0
    merged = encode_pair(tokenizer, "x ", "Paris")
    assert merged.prompt == encode_prompt(tokenizer, "x ").ids
    assert text(tokenizer, merged.target) == "Paris"


def test_the_chat_form_is_read_off_the_template() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(InvalidInputError, match="no chat template"):
        chat_form(tokenizer)
    tokenizer.chat_template = TEMPLATE
    form = chat_form(tokenizer)
    assert (form.lead, form.end) == (" ", "</s>")
    tokens = encode_pair(tokenizer, "Where is Rome?", "Paris", form)
    assert text(tokenizer, tokens.prompt) == "<s><|turn|>user: Where is Rome?</s><|turn|>assistant:"
    assert tokens.prompt.count(tokenizer.bos_token_id) == 1
    assert text(tokenizer, tokens.target) == " Paris"


def test_the_auto_form_asks_questions_as_turns_and_continues_the_rest() -> None:
    tokenizer = tiny_tokenizer()
    plain = AutoForm.of(tokenizer)
    assert encode_prompt(tokenizer, "Who?", plain) == encode_prompt(tokenizer, "Who?")
    tokenizer.chat_template = TEMPLATE
    auto, chat = AutoForm.of(tokenizer), chat_form(tokenizer)
    assert encode_pair(tokenizer, "Who?", "Ly", auto) == encode_pair(tokenizer, "Who?", "Ly", chat)
    assert encode_pair(tokenizer, "It is", "Ly", auto) == encode_pair(tokenizer, "It is", "Ly")


def test_an_empty_target_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="is empty"):
        encode_pair(tiny_tokenizer(), "It is", "  ")


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_moves_rows_but_not_what_they_hold(side: Any) -> None:
    tokenizer = tiny_tokenizer()
    rows = [Tokens((0, 10, 11), (12,)), Tokens((0, 13), (14, 15, 16))]
    batch = pad(rows, tokenizer, side)
    for number, row in enumerate(rows):
        start, length = int(batch.starts[number]), len(row.prompt) + len(row.target)
        own = slice(start, start + length)
        assert tuple(batch.input_ids[number, own].tolist()) == row.prompt + row.target
        assert batch.attention_mask[number].sum() == length
        assert batch.position_ids[number, own].tolist() == list(range(length))
        assert batch.prompt_last[number] == start + len(row.prompt) - 1
        assert batch.labels[number][batch.labels[number] != IGNORED].tolist() == list(row.target)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt_neox"])
def test_a_row_means_the_same_on_either_side(family: str) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    rows = [Tokens((0, 10, 11, 12, 13), (14,)), Tokens((0, 13), (15,))]
    found = []
    for side in ("left", "right"):
        batch = pad(rows, tokenizer, side)  # type: ignore[arg-type]
        with torch.no_grad():
            logits = model(**batch.inputs(model)).logits
        found.append(logits[torch.arange(2), batch.prompt_last])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
