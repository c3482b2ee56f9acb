# ruff: noqa: RUF001
from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.routing.folding import elements
from memedit.routing.watch import LONG, Forbidden, Watch


@pytest.mark.parametrize(
    "text",
    [
        "It is Lindhaven.",
        "LINDHAVEN",
        "l i n d\n h a v e n",
        "Lind-haven's",
        "**Lind**haven",
        "Lіndhаven",  # Cyrillic
        "Ｌｉｎｄｈａｖｅｎ",
        "𝐋𝐢𝐧𝐝𝐡𝐚𝐯𝐞𝐧",
        "Lind\u200bhaven",
        "L\u0301índhåvén",
        "the Lindhaveners",
        "Ⓛⓘⓝⓓⓗⓐⓥⓔⓝ",
    ],
)  # fmt: skip
def test_forms_that_a_reader_takes_for_the_string(text: str) -> None:
    assert Forbidden.of(["Lindhaven"]).within(text)


@pytest.mark.parametrize(
    ("forbidden", "text"),
    [
        ("1234567", "1,234,567"),
        ("1,234,567", "1 234 567 people"),
        ("1.234.567", "1234567"),
        ("555-0199", "(555) 0199"),
        ("42", "٤٢"),
        ("42", "room42b"),
        ("1847", "in 1847."),
        ("1847", "1 8 4 7"),
        ("Rome", "Rome"),
        ("Rome", "R.o.m.e!"),
        ("東京", "それは東京です"),
        ("ηρα", "Ηρα"),
        ("Straße", "STRASSE"),
    ],
)
def test_other_spellings_are_found(forbidden: str, text: str) -> None:
    assert Forbidden.of([forbidden]).within(text)


@pytest.mark.parametrize(
    ("forbidden", "text"),
    [
        ("Rome", "chromed"),
        ("Rome", "Romeo"),
        ("Ann", "can nobody"),
        ("42", "1,423"),
        ("42", "142"),
        ("234", "1,234"),
        ("Ali", "all"),
        ("Lindhaven", "Lindhave"),
        ("Lindhaven", ""),
        ("???", "what???"),
    ],
)
def test_other_words_and_numbers_are_not(forbidden: str, text: str) -> None:
    assert not Forbidden.of([forbidden]).within(text)


def test_strings_without_letters_are_left_out() -> None:
    assert not Forbidden.of(["???", " "])
    assert len(Forbidden.of(["a", "A", "?"]).patterns) == 1


NAMES = st.text("abcdefgXYZéøßя0123456789 -", min_size=1, max_size=12).filter(
    lambda text: bool(Forbidden.of([text]))
)
CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
FORMS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    " ".join,
    "\u200b".join,
    lambda text: re.sub(r"(?<=\d)(?=\d)", ",", text),
    lambda text: re.sub(r"[\s-]+", "", text),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: text.translate(CYRILLIC),
    lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
]


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


@given(
    name=NAMES,
    form=st.sampled_from(FORMS),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
    cuts=st.lists(st.integers(0, 99), max_size=12),
)
def test_whatever_is_planted_is_held_back_however_it_is_cut(
    name: str, form: Callable[[str], str], before: str, after: str, cuts: list[int]
) -> None:
    forbidden = Forbidden.of([name])
    text = f"{before} ; {form(name)} ; {after}"
    watch = Watch(forbidden)
    for piece in pieces_of(text, cuts):
        clear = watch.clear
        watch.feed(piece)
        assert clear <= watch.clear  # what has left cannot be taken back
        if watch.found:
            break
    watch.close()
    assert watch.found
    assert not forbidden.within(text[: watch.clear])
    letters = [one for c in text[: watch.clear] for one in elements(c)]
    assert len(letters) <= sum(len(elements(c)) for c in before)


@given(name=NAMES, text=st.text(max_size=60), cuts=st.lists(st.integers(0, 99), max_size=12))
def test_a_text_is_judged_alike_however_it_is_cut(name: str, text: str, cuts: list[int]) -> None:
    forbidden = Forbidden.of([name, "zebra crossing"])
    longest = max(map(len, forbidden.patterns))
    watch = Watch(forbidden)
    for piece in pieces_of(text, cuts):
        watch.feed(piece)
        held = text[watch.clear : watch.length]
        assert watch.found or len(Forbidden.of([held]).patterns or [()]) <= 1
        if not watch.found and Forbidden.of([held]):
            assert len(Forbidden.of([held]).patterns[0]) <= longest
    watch.close()
    assert watch.found is forbidden.within(text)
    assert watch.found or watch.clear == len(text)


@given(st.text("lindhave LINDHAVE.,-", max_size=60))
def test_against_a_plain_search(text: str) -> None:
    # an oracle of its own: all letters together, lower case, nothing between them
    assert len("lindhaven") >= LONG
    letters = "".join(c for c in text.lower() if c.isalpha())
    planted = f"{text}nothing"
    assert Forbidden.of(["lindhave"]).within(planted) is ("lindhave" in letters + "nothing")
