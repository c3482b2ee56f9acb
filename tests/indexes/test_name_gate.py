"""The gate against what names a subject: it may let more through, never less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.indexes.name_gate import NameGate
from memedit.indexes.names import NameIndex, names_of, words_of
from memedit.scope.subjects import find_mention

WORD = st.sampled_from(
    ["ada", "the", "of", "Love", "lace", "loves", "lov", "Río", "x", "boss", "bos", "Łódź", "год"]
)
NAME = st.lists(WORD, min_size=1, max_size=5).map(" ".join)


def gate_of(*names: str) -> NameGate:
    gate = NameGate()
    for key, name in enumerate(names):
        gate.add(key, names_of(name))
    return gate


@given(names=st.lists(NAME, max_size=6), text=st.lists(WORD, max_size=9).map(", ".join))
def test_whatever_names_a_subject_passes(names: list[str], text: str) -> None:
    gate, index = gate_of(*names), NameIndex()
    for key, name in enumerate(names):
        index.add(key, names_of(name))
    forms = [form for name in names for form in names_of(name)]
    if find_mention(words_of(text), forms) is not None or index.find(text, 1):
        assert gate.passes(text)


@given(
    names=st.lists(NAME, max_size=6),
    gone=st.sets(st.integers(0, 5)),
    texts=st.lists(st.lists(WORD, max_size=6).map(" ".join), max_size=6),
)
def test_what_was_removed_leaves_no_trace(
    names: list[str], gone: set[int], texts: list[str]
) -> None:
    gate, fresh = NameGate(), NameGate()
    for key, name in enumerate(names):
        gate.add(key, names_of(name), [f"whole {name}"])
    for key in gone:
        gate.remove(key)
    for key, name in enumerate(names):
        if key not in gone:
            fresh.add(key, names_of(name), [f"whole {name}"])
    assert (len(gate), gate.held_open) == (len(fresh), fresh.held_open)
    for text in (*texts, *(f"whole {name}" for name in names)):
        assert gate.passes(text) == fresh.passes(text)


@pytest.mark.parametrize(
    ("name", "text", "passes"),
    [
        ("Ada Lovelace", "Where was Ada Lovelace born?", True),
        ("Ada Lovelace", "Where was Lovelace born?", True),
        ("Ada King Lovelace", "Where was Lovelace born?", False),
        ("Ada King Lovelace", "Where was Lovelace, Ada born?", True),
        ("Ada Lovelace", "How many legs does a spider have?", False),
        ("The Cure", "Who is the best?", False),
        ("Martín Solares", "Who is SOLARES?", True),
        ("Łódź", "Where is Lodz?", True),
        ("Dilşat Y\u0131ld\u0131z", "Who is Yildiz?", True),
        ("Bob", "Is that Bobs?", True),
        ("Duran Duran Duran", "Who sang in Duran Duran Duran?", True),
        ("of the", "the book", True),  # no name, so held open
        ("Paris", "Wo liegt Paris?", True),
        ("Paris", "パリの人口は?", True),  # its letters say nothing of Latin names
        ("Paris", "Сколько людей живёт в Париже?", True),
        ("Paris", "¿Dónde está la estación?", False),
        ("Ranma ½", "Who draws Ranma?", True),
        ("東京", "Where is Lisbon?", True),  # held open
        ("?!", "Where is Lisbon?", True),
    ],
)
def test_plain_cases(name: str, text: str, passes: bool) -> None:
    assert gate_of(name).passes(text) is passes


def test_an_empty_gate_is_shut_and_one_key_without_a_name_opens_it() -> None:
    gate = gate_of("Ada Lovelace")
    assert not NameGate().passes("Where is Lisbon?") and not gate.passes("Where is Lisbon?")
    gate.add(7, ())
    assert gate.passes("Where is Lisbon?") and gate.held_open == 1
    gate.remove(7)
    assert not gate.passes("Where is Lisbon?") and gate.held_open == 0


def test_a_name_in_another_script_is_no_loss_beside_one_in_latin_letters() -> None:
    gate = NameGate()
    gate.add(0, names_of("東京", ["Tokyo", "Токио"]))
    assert gate.held_open == 0
    assert gate.passes("Where is Tokyo?") and not gate.passes("Where is Lisbon?")


def test_a_whole_text_passes_word_for_word() -> None:
    gate = NameGate()
    gate.add(0, names_of("Paris"), ["Who leads the City of Light?"])
    assert gate.passes("who leads the city of light") and not gate.passes("Who leads the city?")
