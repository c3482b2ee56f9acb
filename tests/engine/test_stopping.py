from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.engine.stopping import Released, StopMatcher

letters = st.text("ab", max_size=6)


@given(
    pieces=st.lists(letters, max_size=12),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_as_if_the_text_had_been_searched_whole(pieces: list[str], stops: list[str]) -> None:
    """Whatever the pieces: everything before the first stop string, nothing of it, ever."""
    matcher = StopMatcher(stops)
    shown, stop = "", None
    read = ""
    for piece in pieces:
        read += piece
        released = matcher.push(piece)
        shown += released.text
        if released.stop is not None:
            stop = released.stop
            break
    else:
        shown += matcher.rest()
    places = [read.find(one) for one in stops if one in read]
    assert (stop is not None) == bool(places)
    assert shown == (read[: min(places)] if places else read)
    if stop is not None:
        assert read.startswith(shown + stop)


def test_nothing_is_held_without_need() -> None:
    matcher = StopMatcher(["\n\nQ:"])
    assert matcher.push("one\n").text == "one"
    assert matcher.push("two").text == "\ntwo"


@pytest.mark.parametrize(("include", "text"), [(False, "a"), (True, "aEND")])
def test_the_stop_string_itself(include: bool, text: str) -> None:
    matcher = StopMatcher(["END"], include=include)
    assert matcher.push("aE") == Released("a")
    released = matcher.push("NDb")
    assert "a" + released.text == text
    assert released.stop == "END"
