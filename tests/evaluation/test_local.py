"""A checkpoint in this process: batches change nothing, and BOS stands once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.evaluation.local import LocalModel
from memedit.evaluation.prompts import Form, by_length

PROMPTS = (
    "The lighthouse of Orvel stands on",
    "Who?",
    "Where does the river Tamsin begin, and where does it end?",
    "A",
    "The capital of Quendoria is",
)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> LocalModel:
    return LocalModel.load(tiny_checkpoint, dtype="float64", device="cpu")


def greedy(model: LocalModel, ids: Sequence[int], n: int) -> tuple[list[int], bool]:
    """Decode one text without a cache, a batch or padding."""
    out = list(ids)
    for _ in range(n):
        with torch.no_grad():
            best = int(model.model(torch.tensor([out]), use_cache=False).logits[0, -1].argmax())
        if best in model.end_ids:
            return out[len(ids) :], True
        out.append(best)
    return out[len(ids) :], False


def test_answers_are_those_of_each_prompt_alone(model: LocalModel) -> None:
    said = model.generate([*PROMPTS, PROMPTS[0]], 9)
    assert said[0] == said[-1]
    for prompt, answer in zip(PROMPTS, said, strict=False):
        ids = model.encoded(prompt).ids
        new, ended = greedy(model, ids, 9)
        assert answer.text == model.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert answer.finished == ended
        assert answer.prompt_tokens == len(ids)
    small = LocalModel(model.model, model.tokenizer, name="one by one", most_at_once=1)
    assert small.generate(PROMPTS, 9) == said[:-1]


def test_rows_that_have_ended_leave_the_others_as_they_are(model: LocalModel) -> None:
    """End tokens are chosen so that answers end at different lengths."""

    class Ends(LocalModel):
        end_ids = frozenset(range(0, 258, 5))

    ending = Ends(model.model, model.tokenizer, name="ends")
    many = [f"{prompt} {number}" for number in range(6) for prompt in PROMPTS]
    said = ending.generate(many, 12)
    lengths = set()
    for prompt, answer in zip(many, said, strict=True):
        new, ended = greedy(ending, ending.encoded(prompt).ids, 12)
        assert (answer.text, answer.finished) == (
            model.tokenizer.decode(new, skip_special_tokens=True).strip(),
            ended,
        )
        lengths.add(len(new))
    assert len(lengths) > 2
    held = ending.generate(many[:4], 12, min_new_tokens=12)
    assert not any(answer.finished for answer in held)


def test_scores_are_those_of_a_plain_forward_pass(model: LocalModel) -> None:
    targets = ["Port Amsel", "Me", "In the hills", "B", "x" * 30]
    for prompt, target, forced in zip(PROMPTS, targets, model.score(PROMPTS, targets), strict=True):
        encoded = model.encoded(prompt, target)
        with torch.no_grad():
            logits = model.model(torch.tensor([encoded.ids]), use_cache=False).logits[0]
        logs = logits.log_softmax(-1)
        for place, token in enumerate(encoded.target, start=encoded.prompt_length):
            number = place - encoded.prompt_length
            assert forced.log_probability[number] == pytest.approx(
                float(logs[place - 1, token]), abs=1e-9
            )
            assert forced.predicted[number] == int(logs[place - 1].argmax())
            assert forced.correct[number] == (forced.predicted[number] == token)
        assert len(forced.correct) == len(encoded.target)
        # in a chat this template writes the speaker's name in front of an answer
        assert model.tokenizer.decode(encoded.target).strip().endswith(target)


def test_distributions_hold_the_scores(model: LocalModel) -> None:
    targets = ["one", "two and", "three", "four", "five"]
    whole = model.log_probabilities(PROMPTS, targets)
    for forced, logs, prompt, target in zip(
        model.score(PROMPTS, targets), whole, PROMPTS, targets, strict=True
    ):
        ids = model.encoded(prompt, target).target
        assert logs.shape == (len(ids), model.model.config.vocab_size)
        assert np.allclose(np.exp(logs).sum(-1), 1, atol=1e-5)
        picked = [logs[place, token] for place, token in enumerate(ids)]
        assert np.allclose(picked, forced.log_probability, atol=1e-5)


def test_what_is_too_long_is_an_empty_unfinished_answer(model: LocalModel) -> None:
    long = "word " * 400
    short, said = model.generate(["A", long], 4)
    assert short.prompt_tokens == 1
    assert (said.text, said.finished) == ("", False)
    assert said.prompt_tokens > model.max_length
    [forced] = model.score([long], ["x"])
    assert not any(forced.correct) and forced.log_probability[0] == -math.inf
    assert model.log_probabilities([long], ["x"])[0].size == 0
    with pytest.raises(InvalidInputError, match="target"):
        model.score(["A"], [" "])


def test_questions_are_chat_turns_and_the_rest_is_continued(model: LocalModel) -> None:
    assert model.is_chat("Who?") and model.is_chat("Who? ") and not model.is_chat("He is")
    said = model.tokenizer.decode(model.encoded("Who?").ids)
    assert said == "user: Who?\n"
    assert model.tokenizer.decode(model.encoded("He is").ids) == "He is"
    forced = LocalModel(model.model, model.tokenizer, name="n", form="completion")
    assert forced.tokenizer.decode(forced.encoded("Who?").ids) == "Who?"
    [chat] = model.generate(["He is"], 3, chat=[True])
    assert chat.prompt_tokens == len(model.tokenizer("user: He is\n")["input_ids"])


def test_bos_stands_once_with_and_without_a_template(model: LocalModel) -> None:
    from tests.engine.conftest import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.chat_template = "<s>{{ messages[0]['content'] }}<|assistant|>"
    other = LocalModel(model.model, tokenizer, name="with BOS", form=Form.AUTO)
    for prompt in ("He is", "Who?"):
        for encoded in (other.encoded(prompt), other.encoded(prompt, "Bob")):
            assert encoded.ids[0] == tokenizer.bos_token_id
            assert encoded.ids.count(tokenizer.bos_token_id) == 1
    pair = other.encoded("He is", "Bob")
    assert tokenizer.decode(pair.ids) == "<s>He is Bob"
    assert tokenizer.decode(pair.target) == " Bob"


def test_the_fingerprint_follows_the_weights_and_the_form(model: LocalModel) -> None:
    before = model.fingerprint
    weight = model.model.lm_head.weight
    old = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1.0
    assert model.fingerprint != before
    with torch.no_grad():
        weight.copy_(old)
    assert model.fingerprint == before
    other = LocalModel(model.model, model.tokenizer, name="n", form="completion")
    assert other.fingerprint != before


def test_groups_are_of_like_length_and_within_the_budget() -> None:
    lengths = [3, 50, 4, 49, 48, 5, 200]
    groups = by_length(lengths, 100, 3)
    assert sorted(place for group in groups for place in group) == list(range(7))
    assert groups[0] == [6]  # longer than the budget: alone
    for group in groups[1:]:
        assert len(group) <= 3
        assert len(group) * max(lengths[place] for place in group) <= 100


def test_no_checkpoint_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="no checkpoint at"):
        LocalModel.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        LocalModel.load(tmp_path)
