"""Names by their words: what is found, against a search through everything."""

from hypothesis import given
from hypothesis import strategies as st

from memedit.indexes.names import NameIndex, names_of, words_of

WORD = st.sampled_from(["ada", "Love", "lace", "Río", "x", "1", "bos"])
NAME = st.lists(WORD, min_size=1, max_size=3).map(" ".join)


def holds(text: str, name: str) -> bool:
    words, wanted = words_of(text).words, words_of(name).words
    runs = [words[i : i + len(wanted)] for i in range(len(words) - len(wanted) + 1)]
    cut = [(*r[:-1], r[-1][:-1]) for r in runs if len(r[-1]) > 3 and r[-1].endswith("s")]
    return wanted in [*runs, *cut]


@given(
    names=st.lists(st.lists(NAME, max_size=2), max_size=8),
    gone=st.sets(st.integers(0, 7)),
    text=st.lists(WORD, max_size=8).map(", ".join),
)
def test_found_are_the_keys_whose_name_stands_in_the_text(
    names: list[list[str]], gone: set[int], text: str
) -> None:
    index = NameIndex()
    for key, mine in enumerate(names):
        index.add(key, mine)
    for key in gone:
        index.remove(key)
    live = {key: mine for key, mine in enumerate(names) if key not in gone}
    assert len(index) == len(live)
    expected = {key for key, mine in live.items() if any(holds(text, name) for name in mine)}
    assert set(index.find(text, 100)) == expected
    assert len(index.find(text, 2)) == min(2, len(expected))


def test_longer_names_and_newer_keys_come_first() -> None:
    index = NameIndex()
    for key, name in enumerate(["Paris", "Paris Hilton", "Paris", "Lyon"]):
        index.add(key, [name])
    assert index.find("Where was Paris Hilton born?", 8) == (1, 2, 0)
    assert index.find("the mayors of LYONS", 8) == (3,)
    assert index.find("", 8) == ()


def test_names_are_found_without_case_accents_and_titles() -> None:
    assert names_of("Shusha (song)", ["Şuşa Nagorna, a town", "John, Prince"]) == (
        "Shusha (song)",
        "Shusha",
        "Şuşa Nagorna, a town",
        "Şuşa Nagorna",
        "John, Prince",  # not every John
    )
    index = NameIndex()
    index.add(7, names_of("Martín Solares"))
    index.add(8, names_of("?!"))
    assert index.find("Is MARTIN solares' house big?", 8) == (7,)
    assert words_of("Ⅳ. Straße").words == ("iv", "strasse")


def test_what_questions_ask_for_is_a_name_only_with_its_brackets() -> None:
    assert names_of("Name (P99)") == ("Name (P99)",)
    assert names_of("The Title (novel)") == ("The Title (novel)",)
    assert names_of("Title") == ("Title",)
    assert names_of("Number Nine (song)") == ("Number Nine (song)", "Number Nine")
