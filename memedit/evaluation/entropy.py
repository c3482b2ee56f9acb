"""Fluency: how varied the wording of a longer text is.

A model that an edit has damaged says the same words over and over, and the entropy of its n-grams
drops. The number depends on the length of the text: compare texts of the same number of tokens.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

WEIGHTS: dict[int, float] = {2: 2 / 3, 3: 4 / 3}
"""The n of the n-grams, with what their entropy weighs in the mean."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)?|[^\w\s]")


def split(text: str) -> list[str]:
    """Split a text into words; each punctuation mark is one of its own, capitals stay.

    The published numbers come from NLTK's `word_tokenize`, which does nearly the same; it parts
    contractions ("do" "n't"), and here they stay whole.
    """
    return _WORD.findall(text)


def entropy(items: Sequence[object]) -> float:
    """Return the entropy of the frequencies of `items` in bits; 0 without any."""
    total = len(items)
    shares = (count / total for count in Counter(items).values())
    return sum(-share * math.log2(share) for share in shares)


def ngram_entropy(text: str) -> float:
    """Return the weighted mean of the entropies of a text's bigrams and trigrams, in bits.

    Twice the trigrams' weight, as `(2/3 * H2 + 4/3 * H3) / 2`; a text too short for an n-gram
    counts 0 for it.

    Source: Meng et al. 2022, "generation entropy"; survey, section 3.5.
    """
    found = split(text)
    value = 0.0
    for size, weight in WEIGHTS.items():
        grams = list(zip(*(found[start:] for start in range(size)), strict=False))
        value += weight * entropy(grams)
    return value / len(WEIGHTS)
