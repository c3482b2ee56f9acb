from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.routing.wire.document import Document


def test_no_insertion_gives_back_the_bytes() -> None:
    body = b'\xef\xbb\xbf { "a" : [1.0, 1e400 , "\\u00e9\xc3\xa9\\ud800"] , "a":{} }\r\n'
    assert Document.parse(body).to_bytes() == body


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null", b"", b"{} {}", b"{'a': 1}"])
def test_only_an_object_is_a_body(body: bytes) -> None:
    with pytest.raises(ValueError):
        Document.parse(body)


def test_several_insertions_keep_their_places() -> None:
    body = b'{"b": ["one", "two"], "a": {"x": [], "y": "three"}}'
    document = Document.parse(body)
    document.insert_text(("a", "y"), None, "!")
    document.insert_text(("b", 1), 0, "a\n")
    document.insert_text(("a", "y"), 0, "<")
    document.insert_text(("b", 0), 1, '"')
    assert document.to_bytes() == (b'{"b": ["o\\"ne", "a\\ntwo"], "a": {"x": [], "y": "<three!"}}')


@given(
    text=st.text(st.characters(codec=None), max_size=20),
    inserted=st.text(st.characters(codec=None), max_size=5),
    at=st.integers(0, 20) | st.none(),
    ascii_only=st.booleans(),
)
def test_places_count_characters_and_not_escapes(
    text: str, inserted: str, at: int | None, ascii_only: bool
) -> None:
    raw = json.dumps({"k": text}, ensure_ascii=ascii_only)
    body = raw.encode("utf-8", "backslashreplace")
    # a high and a low surrogate side by side are one character once they are JSON
    text = json.loads(body)["k"]
    at = None if at is None else min(at, len(text))
    document = Document.parse(body)
    document.insert_text(("k",), at, inserted)
    cut = len(text) if at is None else at
    got = json.loads(document.to_bytes())["k"]
    assert joined(got) == joined(text[:cut] + inserted + text[cut:])


def joined(text: str) -> str:
    """Make one character of a high and a low surrogate, as every reader of JSON does."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        (0, b'{"p": [ 7, 8, 1 , 2,3 ]}'),
        (1, b'{"p": [ 1 , 7, 8, 2,3 ]}'),
        (None, b'{"p": [ 1 , 2,3, 7, 8 ]}'),
    ],
)
def test_inserts_ids(at: int | None, wanted: bytes) -> None:
    document = Document.parse(b'{"p": [ 1 , 2,3 ]}')
    document.insert_ids(("p",), at, [7, 8])
    assert document.to_bytes() == wanted


def test_a_large_batch_is_walked_once() -> None:
    prompts = [f'prompt "{number}" \\n' for number in range(3_000)]
    document = Document.parse(json.dumps({"prompt": prompts}).encode())
    for number in range(len(prompts)):
        document.insert_text(("prompt", number), 0, f"{number}: ")
    after = json.loads(document.to_bytes())["prompt"]
    assert after == [f"{number}: {text}" for number, text in enumerate(prompts)]
