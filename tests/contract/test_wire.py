"""One suite over all wire formats: what is read, what is changed, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memedit.routing import WIRE_FORMATS, Reason, WireFormat
from memedit.routing.wire.base import TextPrompt
from memedit.types import Action
from tests.routing.bodies import CASES, Case
from tests.routing.inserting import INSERTED, at, differences, exactly, prepared

WIRES = {wire.name: wire for wire in WIRE_FORMATS}
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
