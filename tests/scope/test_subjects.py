"""Where a prompt names a subject, whole or in part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.indexes.names import names_of, words_of
from memedit.scope.subjects import KnownBy, find_mention, forms_asked, other_names

WORD = st.sampled_from(
    ["ada", "the", "of", "Love", "lace", "loves", "lov", "Río", "boss", "bos", "bosse", "год"]
)
NAME = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


def found(text: str, subject: str, *aliases: str) -> tuple[str, float] | None:
    mention = find_mention(words_of(text), names_of(subject, aliases))
    return None if mention is None else (text[mention.start : mention.end], mention.coverage)


@pytest.mark.parametrize(
    ("text", "subject", "span"),
    [
        ("Where was Ada Lovelace born?", "Ada Lovelace", "Ada Lovelace"),
        ("where was ada lovelace's mother born", "Ada Lovelace", "ada lovelace"),
        ("The occupation of Martin Solares is", "Martín Solares", "Martin Solares"),
        ("Who composed the song Shusha?", "Shusha (song)", "Shusha"),
        ("Which gender is Sylvia Rolle?", "Sylvia Roll", "Sylvia Rolle"),
        ("Does the United States border Canada?", "United States", "United States"),
        ("东京 is the capital of", "东京", "东京"),
    ],
)
def test_whole_names(text: str, subject: str, span: str) -> None:
    assert found(text, subject) == (span, 1.0)


def test_a_part_of_a_name_counts_for_its_share() -> None:
    part = found("What did Lovelace write?", "Ada King Lovelace")
    assert part is None  # one word of three
    part = found("What did Ada Lovelace write?", "Ada King Lovelace")
    assert part is not None
    assert part[0] == "Ada Lovelace"
    assert 0.5 < part[1] < 1


@pytest.mark.parametrize(
    ("text", "subject", "span"),
    [
        ("Where was Ada Lovelave born?", "Ada Lovelace", "Ada Lovelave"),
        ("Where was Ada Lvoelace born?", "Ada Lovelace", "Ada Lvoelace"),
        ("Where was Ada Lovlace born?", "Ada Lovelace", "Ada Lovlace"),
        ("Where was Ada Loveelace born?", "Ada Lovelace", "Ada Loveelace"),
        (
            "Who performed Godfather Beried Alive?",
            "Godfather Buried Alive",
            "Godfather Beried Alive",
        ),
        ("When was Cosmos 176 launched?", "Kosmos 176", "Cosmos 176"),
        ("What is the capital of Quendora?", "Quendoria", "Quendora"),
    ],
)
def test_one_letter_of_a_longer_name_may_be_wrong(text: str, subject: str, span: str) -> None:
    assert found(text, subject) == (span, 1.0)
    mention = find_mention(words_of(text), [subject])
    assert mention is not None and mention.mistyped


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("What is the capital of Zambia?", "Gambia"),  # nothing beside it says which is meant
        ("Where was Mary Ross born?", "Mark Ross"),
        ("When was Kosmos 177 launched?", "Kosmos 176"),
        ("Where was Adda Lovelave born?", "Ada Lovelace"),  # short, and two are wrong
    ],
)
def test_other_names_are_not_taken_for_mistyped_ones(text: str, subject: str) -> None:
    mention = find_mention(words_of(text), [subject])
    assert mention is None or mention.coverage < 1


def test_a_name_as_it_is_written_goes_before_a_mistyped_one() -> None:
    text = words_of("Peter Hansen and Peter Hanson met.")
    mention = find_mention(text, ["Peter Hanson"])
    assert mention is not None and mention.start == 17 and not mention.mistyped


@pytest.mark.parametrize(
    ("text", "subject"),
    [("Who is it?", "Ada Lovelace"), ("", "Ada"), ("the of", "the of X"), ("Paris", "Pariso")],
)
def test_no_mention(text: str, subject: str) -> None:
    mention = found(text, subject)
    assert mention is None or subject == "Pariso"


def test_an_alias_is_as_good_and_the_longest_whole_name_wins() -> None:
    assert found("Where does GPS IIR-18 fly?", "USA-199", "GPS IIR-18") == ("GPS IIR-18", 1.0)
    assert found("Is New York City big?", "New York", "New York City") == ("New York City", 1.0)


@pytest.mark.parametrize(
    ("text", "subject", "beside"),
    [
        ("The gender of Bob Marley is", "Bob Ross", (0, 1)),
        ("Where did Captain Ross live?", "Bob Ross", (1, 0)),
        ("Where did Ross live?", "Bob Ross", (0, 0)),
        ("Bob, Alice and Eve", "Bob Ross", (0, 0)),  # a comma between them
        ("Does Ross know?", "Bob Ross", (0, 0)),  # the first word of a text is always capitalised
        ("the gender of bob marley is", "Bob Ross", (0, 0)),  # nothing is capitalised
        ("The age of Jean-Luc Ross is", "Bob Ross", (1, 0)),
        ("The wife of Sir Bob is", "Sir Robert Bob Ross", (0, 0)),  # words of the name itself
    ],
)
def test_words_of_other_names_beside_a_part(
    text: str, subject: str, beside: tuple[int, int]
) -> None:
    names = names_of(subject)
    words = words_of(text)
    mention = find_mention(words, names)
    assert mention is not None
    assert mention.coverage < 1
    assert other_names(text, words, mention, names) == beside


@given(
    subject=NAME,
    aliases=st.lists(NAME, max_size=2),
    text=st.lists(WORD, max_size=8).map(", ".join),
)
def test_what_may_not_stand_in_a_text_is_not_found_there(
    subject: str, aliases: list[str], text: str
) -> None:
    known, words = KnownBy.of(subject, aliases), words_of(text)
    if find_mention(words, known.names) is not None:
        assert known.may_stand_in(forms_asked(words))


def test_most_texts_are_told_from_a_name_without_a_search() -> None:
    known = KnownBy.of("Ada Lovelace", ["Countess of Lovelace"])
    for text in ("Why does bread rest?", "Who is Adam?", ""):
        assert not known.may_stand_in(forms_asked(words_of(text)))
    assert known.may_stand_in(forms_asked(words_of("Is LOVELACES a word?")))
