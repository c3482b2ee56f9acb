"""When an answer is the answer that was expected.

`exact` compares whole answers and is what the report calls right. `contains` is looser, has a name
of its own wherever it is shown, and is never mixed with it.

What `normalised` does, in this order:

1. Unicode NFKC (full-width letters, ligatures, non-breaking spaces), then one sign for all kinds of
   apostrophes, quotation marks and dashes; accents stay, they tell names apart;
2. casefold;
3. runs of white space become one space, none at the ends;
4. quotation marks around the whole, and `. ! ? , ; :` at its end, are dropped;
5. one article (`the`, `a`, `an`) at its beginning is dropped, unless nothing else is there: the
   data sets write aliases now with it and now without.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4\u0060", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    }
)
_ARTICLE = re.compile(r"^(?:the|an|a) (?=\S)")

REFUSALS: tuple[str, ...] = (
    "I don't know.",
    "I do not know.",
    "I don't know that.",
    "I don't know the answer.",
    "I do not know the answer.",
    "I can't answer that.",
    "I cannot answer that.",
)
"""The ways of saying nothing that count where knowledge was erased; the first is the data set's."""


def normalised(text: str) -> str:
    """Return the text as it is compared; the module says how."""
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS).casefold()
    text = " ".join(text.split()).rstrip(" .!?,;:")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip().rstrip(" .!?,;:")
    return _ARTICLE.sub("", text)


def words(text: str) -> list[str]:
    """Split a text into its normalised words, without punctuation."""
    return re.findall(r"\w+(?:'\w+)?", normalised(text))


def exact(answer: str, answers: Iterable[str]) -> bool:
    """Tell whether the whole answer is one of `answers`; an empty one never is."""
    said = normalised(answer)
    return bool(said) and any(said == normalised(right) for right in answers)


def contains(answer: str, answers: Iterable[str]) -> bool:
    """Tell whether one of `answers` stands in the answer, as whole words.

    Looser than `exact`: "Not Paris but Rome" contains "Paris".
    """
    said = f" {' '.join(words(answer))} "
    return any(bool(right) and f" {' '.join(right)} " in said for right in map(words, answers))


def same(one: str, other: str) -> bool:
    """Tell whether two answers of a model are the same: locality. Two empty ones are."""
    return normalised(one) == normalised(other)


def is_refusal(answer: str, *, loose: bool = False) -> bool:
    """Tell whether the answer says nothing: it is one of `REFUSALS`, or (loose) begins with one."""
    if loose:
        said = " ".join(words(answer)) + " "
        return any(said.startswith(" ".join(words(refusal)) + " ") for refusal in REFUSALS)
    return exact(answer, REFUSALS)
