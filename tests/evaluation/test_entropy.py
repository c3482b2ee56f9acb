"""The entropy of n-grams, by hand."""

from __future__ import annotations

import math

import pytest

from memedit.evaluation.entropy import entropy, ngram_entropy, split


def test_entropy_is_in_bits() -> None:
    assert entropy(["a", "b", "c", "d"]) == pytest.approx(2)
    assert entropy(["a", "a", "b", "b"]) == pytest.approx(1)
    assert entropy(["a"] * 9) == 0
    assert entropy([]) == 0


def test_words_and_marks_are_apart_and_contractions_whole() -> None:
    assert split("I don't know, Sir.") == ["I", "don't", "know", ",", "Sir", "."]


def test_ngram_entropy_weighs_trigrams_twice() -> None:
    # Bigrams ab bc ca ab bc: 2/5, 2/5, 1/5; trigrams abc bca cab abc: 1/2, 1/4, 1/4.
    bigrams = -(2 * 0.4 * math.log2(0.4) + 0.2 * math.log2(0.2))
    trigrams = 1.5
    expected = (2 / 3 * bigrams + 4 / 3 * trigrams) / 2
    assert ngram_entropy("a b c a b c") == pytest.approx(expected)


def test_repetition_has_none_and_variety_has_much() -> None:
    assert ngram_entropy("the the the the the the") == 0
    # eight different words: log2 7 and log2 6
    eight = (2 / 3 * math.log2(7) + 4 / 3 * math.log2(6)) / 2
    assert ngram_entropy("one two three four five six seven eight") == pytest.approx(eight)


def test_short_texts_count_nothing_for_what_they_lack() -> None:
    assert ngram_entropy("") == 0
    assert ngram_entropy("one") == 0
    assert ngram_entropy("one two three") == pytest.approx(1 / 3)  # two bigrams, one trigram


def test_capitals_stay() -> None:
    assert ngram_entropy("a b a b") < ngram_entropy("a b A B")
