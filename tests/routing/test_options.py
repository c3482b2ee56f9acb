from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.errors import InvalidInputError
from memedit.routing import RequestOptions


def test_nothing_said() -> None:
    assert RequestOptions.from_headers({}) == RequestOptions()
    assert RequestOptions.from_headers({}, namespaces=("a",)).namespaces == ("a",)


def test_everything_said_in_any_case_and_as_asgi_says_it() -> None:
    wanted = RequestOptions(True, ("team/a", "b"), 0.25, True)
    named = {
        "X-Memedit-Bypass": "TRUE",
        "x-memedit-namespace": "team/a, b,b",
        "X-MEMEDIT-THRESHOLD": " 0.25 ",
        "x-memedit-detail": "1",
        "authorization": "anything",
    }
    assert RequestOptions.from_headers(named) == wanted
    pairs = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    assert RequestOptions.from_headers(pairs) == wanted


def test_repeated_namespace_headers_are_one_list() -> None:
    pairs = [("x-memedit-namespace", "a,b"), ("x-memedit-namespace", "c")]
    assert RequestOptions.from_headers(pairs).namespaces == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-memedit-bypass", "yes"),
        ("x-memedit-bypass", ""),
        ("x-memedit-detail", "2"),
        ("x-memedit-threshold", "high"),
        ("x-memedit-threshold", "1.01"),
        ("x-memedit-threshold", "-0.1"),
        ("x-memedit-threshold", "nan"),
        ("x-memedit-threshold", ""),
        ("x-memedit-namespace", ""),
        ("x-memedit-namespace", "a,,b"),
        ("x-memedit-namespace", "a b"),
        ("x-memedit-namespace", "a" * 129),
        ("x-memedit-namespace", ",".join(f"n{i}" for i in range(33))),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=f"header {name}: got .*, expected") as caught:
        RequestOptions.from_headers({name: value})
    assert caught.value.status == 400
    assert len(str(caught.value)) < 500


def test_headers_that_contradict_each_other() -> None:
    for name, one, other in [
        ("x-memedit-bypass", "1", "0"),
        ("x-memedit-threshold", "0.1", "0.2"),
    ]:
        with pytest.raises(InvalidInputError):
            RequestOptions.from_headers([(name, one), (name, other)])


@given(
    st.sampled_from(["bypass", "namespace", "threshold", "detail"]),
    st.text(max_size=40) | st.binary(max_size=40),
)
def test_any_value_is_read_or_refused(name: str, value: str | bytes) -> None:
    try:
        options = RequestOptions.from_headers([(f"x-memedit-{name}", value)])
    except InvalidInputError as error:
        assert str(error).isascii() and str(error).isprintable()
    else:
        assert options.namespaces
        assert options.threshold is None or 0 <= options.threshold <= 1
