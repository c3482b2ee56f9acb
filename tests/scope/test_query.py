from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.scope.query import WINDOW, head, leans, search_texts, tail
from memedit.types import QueryText

CAPITAL = "What is the capital of France?"


@pytest.mark.parametrize(
    "text",
    [
        "and its population?",
        "What is its population?",
        "How old is she?",
        "What language is spoken there?",
        "Who founded that company?",
        "And the currency?",
        "since when?",
        "The currency?",
    ],
)
def test_a_text_that_leans_is_completed(text: str) -> None:
    assert search_texts(QueryText(text, ("earlier", CAPITAL))) == (text, f"{CAPITAL} {text}")


@pytest.mark.parametrize(
    "text",
    [
        "What is the population of Norway?",
        "Thanks!",
        "ok",
        "What time is it in Oslo?",
        "Is it true that Oslo lies on a fjord?",
        "Where did Ada Lovelace live when she was young?",
        "Are there any lakes in Finland?",
        "And who wrote Emma?",
        "And Norway and its lakes?",
        "",
    ],
)
def test_a_text_that_stands_alone_is_searched_alone(text: str) -> None:
    assert search_texts(QueryText(text, (CAPITAL,))) == (text,)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("What about Italy?", "What is the capital of Italy?"),
        ("And of Germany?", "What is the capital of Germany?"),
        ("and of germany?", "What is the capital of germany?"),
        ("And Germany's, then?", "What is the capital of Germany?"),
        ("and what about the Isle of Man, please?", "What is the capital of Isle of Man?"),
        ("And Germany and Spain?", "What is the capital of Germany and Spain?"),
    ],
)
def test_a_text_that_names_another_subject_asks_the_earlier_question(text: str, asked: str) -> None:
    assert search_texts(QueryText(text, ("earlier", CAPITAL))) == (asked,)
    assert search_texts(QueryText(text, (CAPITAL, "And of Norway?"))) == (asked,)


@pytest.mark.parametrize(
    "earlier",
    [
        "Hi",
        "Is Oslo larger than Bergen?",
        "Marie Curie was born where?",
    ],
)
def test_a_question_that_does_not_show_what_to_replace_is_left(earlier: str) -> None:
    assert search_texts(QueryText("And Germany?", (earlier,))) == ("And Germany?",)


@pytest.mark.parametrize(
    "text",
    [
        "And in June?",
        "And in English?",
        "And is it Paris?",
        "And of it?",
        "And France?",
        "AND THE CURRENCY?",
        "And I want to know why",
        "And Who is the head of its government?",
        "But What is the currency of France?",
    ],
)
def test_a_text_whose_names_change_no_subject_leans(text: str) -> None:
    assert search_texts(QueryText(text, (CAPITAL,))) == (text, f"{CAPITAL} {text}")


@pytest.mark.parametrize("text", ["But why Lyon?", "Why?", "why Lyon though?"])
def test_a_text_that_asks_for_the_reason_is_about_the_question_before(text: str) -> None:
    assert search_texts(QueryText(text, (CAPITAL, "Thanks!"))) == (text, CAPITAL)


@pytest.mark.parametrize(
    "between",
    [
        ("And its currency?",),
        ("And its currency?", "But why?", "Thanks a lot!", "OK."),
        ("And of Norway?", f"{CAPITAL[:-1]} then?"),
    ],
)
def test_turns_that_lean_themselves_are_passed_over(between: tuple[str, ...]) -> None:
    asked = QueryText("And the population?", (CAPITAL, *between))
    whole = between[-1] if between[-1].startswith(CAPITAL[:-1]) else CAPITAL
    assert search_texts(asked) == (asked.text, f"{whole} {asked.text}")


def test_a_subject_that_was_changed_stays_changed() -> None:
    asked = QueryText("And its currency?", (CAPITAL, "And of Norway?"))
    assert search_texts(asked) == (asked.text, f"What is the capital of Norway? {asked.text}")


def test_a_long_talk_of_turns_that_lean_ends() -> None:
    talk = (CAPITAL, *("And its currency?" for _ in range(40)))
    assert search_texts(QueryText("And the population?", talk))


def test_without_earlier_turns_nothing_leans() -> None:
    assert not leans(QueryText("and its population?"))
    assert search_texts(QueryText("and its population?")) == ("and its population?",)


def test_the_question_after_a_pasted_text_is_searched() -> None:
    pasted = "The report goes on about harvests, tolls and the weather. " * 200

    texts = search_texts(QueryText(f"{pasted}\n{CAPITAL}"))

    assert CAPITAL in texts
    assert any(text.endswith(CAPITAL) and len(text) > len(CAPITAL) for text in texts)
    assert texts[0].startswith("The report goes on") and texts[0].endswith(".")


def test_the_question_before_a_pasted_text_is_searched() -> None:
    pasted = "The report goes on about harvests, tolls and the weather. " * 200

    assert search_texts(QueryText(f"{CAPITAL}\n{pasted}"))[0].startswith(CAPITAL)


def test_windows_end_at_sentence_borders() -> None:
    text = "First one. Second one! Third one? Fourth one."

    assert head(text, 25) == "First one. Second one!"
    assert tail(text, 25) == "Third one? Fourth one."
    assert head("word " * 10, 12) == "word word"
    assert tail("word " * 9 + "word", 12) == "word word"
    assert head("x" * 30, 12) == tail("x" * 30, 12) == "x" * 12


@given(st.text(max_size=3_000), st.lists(st.text(max_size=1_500), max_size=3))
def test_any_query_gives_short_distinct_texts(text: str, context: list[str]) -> None:
    texts = search_texts(QueryText(text, tuple(context)))

    assert texts
    assert len(set(texts)) == len(texts)
    assert all(len(found) <= WINDOW for found in texts)
    if len(text.strip()) <= WINDOW and len(texts) > 1:
        assert texts[0] == text.strip()


@given(st.text(alphabet="ab .\n?", min_size=WINDOW + 1, max_size=4 * WINDOW))
def test_windows_are_the_two_ends_of_the_text(text: str) -> None:
    stripped = text.strip()
    if len(stripped) > WINDOW:
        first, *others = search_texts(QueryText(text))
        assert stripped.startswith(first)
        assert all(stripped.endswith(other) for other in others)
