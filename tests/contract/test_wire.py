"""One suite over all wire formats: what is read, what is changed, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.routing import (
    WIRE_FORMATS,
    Prepared,
    Reason,
    RequestOptions,
    Route,
    RouteQuery,
    WireFormat,
    prepare,
    run_sync,
)
from memedit.routing.wire.base import NotRead, TextPrompt
from memedit.types import Action, Candidate, Surface
from tests.routing.bodies import CASES, Case
from tests.routing.tiny_memory import decided, edit, router
from tests.routing.toy_upstream import no_upstream

WIRES = {wire.name: wire for wire in WIRE_FORMATS}
INSERTED = {
    Surface.CHAT: "Updated facts, which replace what you know:\n"
    "- The capital of France is Norwick.\n\n",
    Surface.COMPLETION: "Imagine that the capital of France is Norwick.\n",
}
EDIT = decided(Candidate(edit(), 1.0, "The capital of France is"), 1.0)


class Always:
    """Decides the same about every prompt, and remembers what it was asked."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.asked: list[RouteQuery] = []

    def decide(self, queries: Any) -> list[Route]:
        self.asked.extend(queries)
        if self.action is Action.PASS:
            return [Route(Action.PASS, Reason.OUT_OF_SCOPE) for _ in queries]
        return [
            Route(Action.IN_CONTEXT, Reason.IN_SCOPE, method="statement", applied=(EDIT,))
            for _ in queries
        ]


def prepared(wire: WireFormat, body: bytes, action: Action = Action.IN_CONTEXT) -> Prepared:
    plan = prepare(router(edit()), wire, body, RequestOptions())
    return run_sync(plan, Always(action), no_upstream)


def at(body: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


def differences(one: Any, other: Any, path: tuple[str | int, ...] = ()) -> list[Any]:
    """Return (path, one, other) of every leaf that differs; a differing shape is a leaf."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        return [d for key in one for d in differences(one[key], other[key], (*path, key))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            d
            for i, (a, b) in enumerate(zip(one, other, strict=True))
            for d in differences(a, b, (*path, i))
        ]
    return [] if type(one) is type(other) and one == other else [(path, one, other)]


def exactly(body: bytes) -> Any:
    """Parse with every number as its own spelling."""
    return json.loads(
        body.decode("utf-8-sig"),
        parse_float=lambda text: ("float", text),
        parse_int=lambda text: ("int", text),
        parse_constant=lambda text: ("constant", text),
    )


by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_wire = pytest.mark.parametrize("wire", WIRE_FORMATS, ids=lambda wire: wire.name)


@by_name
def test_reads_the_last_user_turn(case: Case) -> None:
    (prompt,) = WIRES[case.wire].read(case.body)
    assert isinstance(prompt, TextPrompt)
    assert prompt.query.text == case.asked
    assert prompt.query.context == case.context
    assert (prompt.place.path, prompt.place.start) == (case.path, case.start)


@by_name
@pytest.mark.parametrize("style", [{}, {"indent": 1}, {"ensure_ascii": False}])
def test_inserts_before_what_is_asked_and_nothing_else(case: Case, style: Any) -> None:
    wire = WIRES[case.wire]
    before = json.dumps(case.body, **style).encode()
    after = prepared(wire, before)
    assert after.touched
    run = INSERTED[wire.surface]
    old = at(case.body, case.path)
    expected = old[: case.start] + run + old[case.start :]
    assert differences(exactly(before), exactly(after.body)) == [(case.path, old, expected)]
    # and not only in meaning: the very bytes, but for one run of them
    escaped = json.dumps(run)[1:-1].encode()
    assert after.body.replace(escaped, b"", 1) == before
    assert after.headers["x-memedit-route"] == "in_context"
    assert after.headers["x-memedit-edits"] == "e-aaaaaaaaaaaa@1"


@by_name
def test_untouched_is_the_very_same_object(case: Case) -> None:
    body = json.dumps(case.body).encode()
    passed = prepared(WIRES[case.wire], body, Action.PASS)
    assert passed.body is body
    assert not passed.touched
    assert passed.headers["x-memedit-route"] == "pass"


@by_name
def test_equal_requests_become_equal_requests(case: Case) -> None:
    body = json.dumps(case.body).encode()
    assert len({prepared(WIRES[case.wire], body).body for _ in range(3)}) == 1


SHAPES: list[Any] = [
    {},
    [],
    None,
    0,
    "text",
    {"messages": None, "prompt": None, "input": None},
    {"messages": "x", "prompt": 1, "input": {}},
    {"messages": [], "prompt": [], "input": []},
    {"messages": [1], "prompt": [1, "a"], "input": ["a"]},
    {"messages": [{"role": "user"}], "prompt": [[]], "input": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": 1}], "prompt": [True], "input": [{"content": "a"}]},
    {"messages": [{"role": ["user"], "content": "a"}], "prompt": {"a": 1}, "input": 1.5},
    {
        "messages": [{"role": "user", "content": [{"type": ["text"], "text": "a"}]}],
        "prompt": [[1], "a"],
        "input": [{"role": "user", "content": [{"type": {}, "text": "a"}]}],
    },
    {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}, 7, None]}]},
    {"messages": [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]},
]


@every_wire
@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_wrong_types_pass_for_the_upstream_to_refuse(wire: WireFormat, shape: Any) -> None:
    body = json.dumps(shape).encode()
    passed = prepared(wire, body)
    assert passed.body is body
    assert passed.routes[0].reason is Reason.NOT_READ
    assert passed.headers["x-memedit-reason"] == "not_read"
    assert passed.headers["x-memedit-note"] in ("not-json", "unknown-shape", "no-question")


@every_wire
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"[" * 200_000,
        b'{"messages":' * 100_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
        '{"prompt": "a"}'.encode("utf-16"),
        b'{"prompt": "line\nbreak"}',
    ],
    ids=range(11),
)
def test_what_is_no_json_passes(wire: WireFormat, body: bytes) -> None:
    passed = prepared(wire, body)
    assert passed.body is body
    assert passed.headers["x-memedit-note"] == "not-json"


def test_errors_have_the_shape_of_each_api() -> None:
    for wire in WIRE_FORMATS:
        for status in (400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504):
            error = json.loads(wire.error(status, "some_code", 'It "failed"\n\ud800'))
            assert error["error"]["message"].startswith('It "failed"')
            assert error["error"]["type"].endswith("_error") or status == 413
            if wire.name == "messages":
                assert error["type"] == "error"
            else:
                assert error["error"]["code"] == "some_code"
                assert "param" in error["error"]
            event = wire.error_event(status, "some_code", "x")
            *lines, last, end = event.split(b"\n")
            assert (last, end) == (b"", b"")
            assert json.loads(lines[-1].removeprefix(b"data: "))
            assert lines[0].startswith(b"event: error") is (wire.name in ("responses", "messages"))


# --- properties ---------------------------------------------------------------------------------

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


def spelled(value: Any, style: dict[str, Any]) -> bytes:
    """Write JSON with numbers that a float cannot hold; lone surrogates stay escapes."""
    text = json.dumps(value, **style)
    for number in WEIRD_NUMBERS:
        text = text.replace(f'"@@{number}"', number)
    return text.encode("utf-8", "backslashreplace")


_styles = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


@every_wire
@settings(max_examples=200, deadline=None)
@given(value=_bodies, style=_styles, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
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
@settings(max_examples=200, deadline=None)
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
