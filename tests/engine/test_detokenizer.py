from __future__ import annotations

import random

import pytest

from memedit.engine.detokenizer import Detokenizer, TokenTexts
from memedit.engine.loading import LoadedModel
from tests.engine.conftest import LINES


@pytest.mark.parametrize("text", [*LINES, " leading space", "🙂🙂東京€", "a\n\n b\t☃", "\ufffd!"])
def test_pieces_make_up_the_text(loaded: LoadedModel, text: str) -> None:
    tokens = loaded.tokenizer(text, add_special_tokens=False).input_ids
    detokenizer = Detokenizer(loaded.tokenizer)
    pieces = [detokenizer.push(token) for token in tokens]
    assert "".join(pieces) == text


def test_a_character_comes_whole(loaded: LoadedModel) -> None:
    tokens = loaded.tokenizer("𓀀", add_special_tokens=False).input_ids
    assert len(tokens) == 4, "the vocabulary was not trained on it: one token a byte"
    detokenizer = Detokenizer(loaded.tokenizer)
    assert [detokenizer.push(token) for token in tokens] == ["", "", "", "𓀀"]
    assert detokenizer.push(tokens[0]) == ""


def test_any_tokens_at_all(loaded: LoadedModel) -> None:
    """Random tokens are mostly broken bytes: nothing is lost or shown twice, nothing is early."""
    chance = random.Random(3)
    for _ in range(200):
        tokens = [chance.randrange(5, 400) for _ in range(chance.randrange(1, 60))]
        detokenizer = Detokenizer(loaded.tokenizer)
        shown = ""
        for count, token in enumerate(tokens, start=1):
            shown += detokenizer.push(token)
            whole = loaded.tokenizer.decode(tokens[:count])
            assert shown in (whole, whole.removesuffix("\ufffd"))


def test_a_flood_of_broken_bytes_stays_cheap(loaded: LoadedModel) -> None:
    broken = loaded.tokenizer("𓀀", add_special_tokens=False).input_ids[0]
    detokenizer = Detokenizer(loaded.tokenizer)
    for _ in range(500):
        detokenizer.push(broken)
    assert len(detokenizer._window) < 16


def test_special_tokens(loaded: LoadedModel) -> None:
    tokens = [0, *loaded.tokenizer("It", add_special_tokens=False).input_ids, 1]
    without, kept = (
        Detokenizer(loaded.tokenizer),
        Detokenizer(loaded.tokenizer, skip_special_tokens=False),
    )
    assert "".join(map(without.push, tokens)) == "It"
    assert "".join(map(kept.push, tokens)) == "<s>It<|end|>"


def test_the_text_of_one_token_keeps_its_space() -> None:
    """As with sentencepiece's decoder, which drops the space in front of a text's first word."""

    class WordTokenizer:
        words = ("\u2581It", "\u2581begins", "!")

        def decode(self, tokens: list[int], **_: object) -> str:
            text = "".join(self.words[token] for token in tokens).replace("\u2581", " ")
            return text.removeprefix(" ")

    texts = TokenTexts(WordTokenizer())
    assert [texts[token] for token in range(3)] == [" It", " begins", "!"]
    detokenizer = Detokenizer(WordTokenizer())
    assert [detokenizer.push(token) for token in (0, 1, 2, 1)] == ["It", " begins", "!", " begins"]
