"""Properties of all wire formats over any JSON and any bytes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.routing import WIRE_FORMATS, WireFormat
from memedit.routing.wire.base import NotRead, TextPrompt
from tests.routing.inserting import INSERTED, differences, exactly, prepared

every_wire = pytest.mark.parametrize("wire", WIRE_FORMATS, ids=lambda wire: wire.name)

WEIRD_NUMBERS = [
    "1e400",
    "-0.0",
    "-0",
    "0.1",
    "1E+2",
    "NaN",
    "-Infinity",
    "123456789" * 8,
    "1e-999",
]
_text = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["", " ", "\ud800", "\udc00\ud83d", "😀", '"\\', "a\n\n b", "\u2028", "What is it?"]
)
_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | _text
    | st.builds("@@{}".format, st.sampled_from(WEIRD_NUMBERS))
)
_json = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)
_part = (
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "input_text", "image", "tool_result"]) | _json},
        optional={"text": _text | _json, "image_url": _json, "extra": _json},
    )
    | _json
)
_turn = (
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool", "developer"]) | _json,
            "content": _text | st.lists(_part, max_size=4) | _json,
        },
        optional={"name": _json, "tool_calls": _json, "type": st.sampled_from(["message", "x"])},
    )
    | _json
)
_turns = st.lists(_turn, max_size=5)
_bodies = (
    st.fixed_dictionaries(
        {},
        optional={
            "model": _text | _json,
            "messages": _turns | _json,
            "input": _text | _turns | _json,
            "prompt": _text | st.lists(_text, max_size=3) | st.lists(st.integers()) | _json,
            "system": _json,
            "echo": _json,
            "temperature": _json,
        },
    )
    | _json
)

# most of what is drawn above is refused by every API; these ask something
_words = st.text(st.characters(codec=None), min_size=1, max_size=12).map("a{}".format)
_good_part = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "input_text"]), "text": _words}, optional={"extra": _json}
) | st.fixed_dictionaries({"type": st.just("image"), "image": _json})
_good_turn = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "user", "assistant", "tool"]),
        "content": _words | st.lists(_good_part, max_size=3) | st.none(),
    },
    optional={"tool_calls": _json, "type": st.just("message")},
)
_good_turns = st.lists(_good_turn, min_size=1, max_size=5)
_good_bodies = st.fixed_dictionaries(
    {
        "model": _words,
        "messages": _good_turns,
        "input": _words | _good_turns,
        "prompt": _text | st.lists(_text, min_size=1, max_size=3),
    },
    optional={"temperature": _json, "tools": _json, "echo": _json},
)


def spelled(value: Any, style: dict[str, Any]) -> bytes:
    """Write JSON with numbers that a float cannot hold; lone surrogates stay escapes."""
    text = json.dumps(value, **style)
    for number in WEIRD_NUMBERS:
        text = text.replace(f'"@@{number}"', number)
    return text.encode("utf-8", "backslashreplace")


_styles = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


@every_wire
@settings(max_examples=100, deadline=None)
@given(value=_good_bodies | _bodies, style=_styles, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_any_json_is_read_or_passed_and_can_be_undone(
    wire: WireFormat, value: Any, style: dict[str, Any], mark: bytes
) -> None:
    body = mark + spelled(value, style)
    out = prepared(wire, body)
    for name, header in out.headers.items():
        assert name.startswith("x-memedit-")
        assert header.isascii() and header.isprintable() and len(header) <= 4_096
    if not out.touched:
        assert out.body is body
        return
    run = INSERTED[wire.surface]
    changed = differences(exactly(body), exactly(out.body))
    prompts = wire.read(json.loads(body.decode("utf-8-sig")))
    assert [path for path, _, _ in changed] == [prompt.place.path for prompt in prompts]
    for (_, old, new), prompt in zip(changed, prompts, strict=True):
        assert isinstance(prompt, TextPrompt)
        start = prompt.place.start
        assert new == old[:start] + run + old[start:]
    escaped = json.dumps(run)[1:-1].encode()
    assert out.body.replace(escaped, b"") == body


@every_wire
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=200) | st.builds(str.encode, st.text(max_size=80)))
def test_any_bytes_pass(wire: WireFormat, body: bytes) -> None:
    out = prepared(wire, body)
    try:
        readable = wire.read(json.loads(body.decode("utf-8-sig")))
    except (ValueError, AttributeError, NotRead):
        readable = ()
    assert out.touched or out.body is body
    assert not out.touched or readable


@every_wire
def test_of_duplicate_keys_the_last_is_read_and_changed(wire: WireFormat) -> None:
    key = {"chat": "messages", "messages": "messages", "responses": "input"}.get(
        wire.name, "prompt"
    )
    old, new = (
        '[{"role":"user","content":"first"}]',
        '[{"role":"user","content":"first","content":"last"}]',
    )
    if key == "prompt":
        old, new = '"first"', '"last"'
    body = f'{{"{key}": {old}, "a\\u0062": 1, "{key}" : {new} }}'.encode()
    out = prepared(wire, body)
    run = json.dumps(INSERTED[wire.surface])[1:-1]
    assert out.body.decode() == body.decode().replace('"last"', f'"{run}last"')


@every_wire
def test_nesting_near_the_limit_is_changed_or_passes(wire: WireFormat) -> None:
    key = {"chat": "messages", "messages": "messages", "responses": "input"}.get(wire.name)
    asked = '[{"role":"user","content":"a"}]' if key else '"a"'
    touched = set()
    for depth in range(max(0, sys.getrecursionlimit() - 250), sys.getrecursionlimit() + 10):
        nested = "[" * depth + "]" * depth
        body = f'{{"x": {nested}, "{key or "prompt"}": {asked}}}'.encode()
        out = prepared(wire, body)
        touched.add(out.touched)
        assert out.touched or out.body is body
    assert touched == {True, False}
