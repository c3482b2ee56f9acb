from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.routing.guard import Guard
from memedit.routing.guarded import GuardedAnswer
from memedit.routing.guarded import watching as watching_answer
from tests.routing.guarding import (
    PATHS,
    format_of,
    guard,
    read,
    shown,
    streamed,
    through,
    whole,
)

EVENTS = "text/event-stream; charset=utf-8"
SAFE = "I don't know."
every = pytest.mark.parametrize("wire", PATHS)


def watching(wire: str, kind: str = EVENTS, **fields: Any) -> GuardedAnswer:
    return watching_answer(guard("Lindhaven", "Rome", **fields), format_of(wire), kind)


@every
def test_a_whole_answer_without_it_leaves_as_the_bytes_that_came(wire: str) -> None:
    body = json.dumps(whole(wire, "It is Velden, chromed."), indent=1).encode()
    answer = watching(wire, "application/json")
    assert through(answer, body[:9], body[9:]) == body
    assert answer.outcome == "clear"


@every
def test_a_whole_answer_that_tells_is_replaced(wire: str) -> None:
    answer = watching(wire, "application/json")
    got = json.loads(through(answer, json.dumps(whole(wire, "It is L I N D haven.")).encode()))
    assert answer.outcome == "withheld"
    assert got == _with_text(wire, got, SAFE)
    assert "haven" not in json.dumps(got)
    assert got["id"] == whole(wire, "")["id"]


def _with_text(wire: str, got: dict[str, Any], text: str) -> dict[str, Any]:
    expected = whole(wire, text)
    if wire in ("chat", "completions"):
        expected["choices"][0]["logprobs"] = None
    elif wire == "responses":
        expected["output"] = got["output"]
        assert got["output"][0]["content"][0]["text"] == text
        expected["incomplete_details"] = None
    else:
        expected["stop_sequence"] = None
    return expected


@every
def test_a_stream_without_it_leaves_as_the_bytes_that_came(wire: str) -> None:
    events = streamed(wire, ["It ", "is Lind", "berg", " near ", "Rom", "eo", " or so: Lindhav"])
    answer = watching(wire)
    assert through(answer, *events) == b"".join(events)
    assert answer.outcome == "clear"


@every
def test_only_what_may_be_a_beginning_waits(wire: str) -> None:
    events = streamed(wire, ["It ", "is Lind", "berg", " by the sea"])
    answer, out = watching(wire), []
    for event in events:
        out.append(answer.feed(event))
    held = next(number for number, event in enumerate(events) if b"is Lind" in event)
    assert out[held] == b""
    assert out[held + 1] == events[held] + events[held + 1]
    assert [one for n, one in enumerate(out) if n not in (held, held + 1)] == [
        event for n, event in enumerate(events) if n not in (held, held + 1)
    ]


@every
@pytest.mark.parametrize("pieces", [["It ", "is", " Lind", "ha", "ven", " there", "."], ["Rome"]])
def test_a_stream_that_tells_is_ended_in_its_own_form(wire: str, pieces: list[str]) -> None:
    events = streamed(wire, pieces)
    answer = watching(wire)
    got = through(answer, *events)
    assert answer.ended and answer.outcome == "withheld"
    for told in ("Lind", "haven", "there", "Rome"):
        assert told.encode() not in got
    said = read(got)
    assert shown(wire, said) == ("It is " if len(pieces) > 1 else "") + SAFE
    assert b": memedit: withheld" in got
    if wire in ("chat", "completions"):
        assert got.endswith(b"data: [DONE]\n\n")
        assert said[-1]["choices"][0]["finish_reason"] == "stop"
        assert said[-1]["model"] == "m"
    else:
        assert _kinds(said) == _kinds(read(b"".join(events)))
        assert said[-1]["type"] in ("message_stop", "response.completed")
    if wire == "responses":
        numbers = [one["sequence_number"] for one in said]
        assert numbers == sorted(set(numbers))
        assert said[-1]["response"]["output"][0]["content"][0]["text"] == shown(wire, said)


def _kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events, as many deltas as there are in a row being one."""
    kinds = [event["type"] for event in events]
    return [kind for n, kind in enumerate(kinds) if not n or kinds[n - 1] != kind]


@given(
    wire=st.sampled_from(sorted(PATHS)),
    pieces=st.lists(st.text("Lindhave RLo\n", max_size=5), max_size=12),
    cuts=st.lists(st.integers(0, 5_000), max_size=10),
)
def test_streams_are_what_they_were_or_tell_nothing(
    wire: str, pieces: list[str], cuts: list[int]
) -> None:
    stream = b"".join(streamed(wire, pieces))
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    chunks = [stream[a:b] for a, b in pairwise(places)]
    answer = watching(wire)
    got = through(answer, *chunks)
    forbidden = guard("Lindhaven", "Rome").rules[0].forbidden  # type: ignore[union-attr]
    if forbidden.within("".join(pieces)):
        assert answer.outcome == "withheld"
        assert not forbidden.within(shown(wire, read(got)))
        assert shown(wire, read(got)).endswith(SAFE)
    else:
        assert got == stream


def test_reasoning_and_tool_calls_are_watched_as_well() -> None:
    for delta in (
        {"reasoning_content": "Hm, Lindhaven"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":"Lindhaven"}'}}]},
        {"refusal": "I must not say Lindhaven"},
    ):
        answer = watching("chat")
        event = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        got = through(answer, b"data: " + json.dumps(event).encode() + b"\n\n")
        assert answer.outcome == "withheld" and b"Lind" not in got
        message = {"id": "c", "choices": [{"index": 0, "message": delta}]}
        answer = watching("chat", "application/json")
        assert b"Lind" not in through(answer, json.dumps(message).encode())


def test_thinking_before_the_text_is_closed_before_the_safe_sequence() -> None:
    events = streamed("messages", ["Lindhaven"])
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}}
    thought = {"type": "content_block_delta", "index": 0, "delta": {"thinking": "It is Lindhaven"}}
    stream = [
        events[0],
        *(b"data: " + json.dumps(one).encode() + b"\n\n" for one in (block, thought)),
    ]
    said = read(through(watching("messages"), *stream))
    assert [one["type"] for one in said] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert said[4]["index"] == 1


def test_what_spells_tokens_is_left_out() -> None:
    tops = {"content": [{"token": "It", "top_logprobs": [{"token": "Lindhaven"}]}]}
    body = whole("chat", "It is so")
    body["choices"][0]["logprobs"] = tops
    answer = watching("chat", "application/json")
    got = through(answer, json.dumps(body).encode())
    assert b"Lindhaven" not in got and answer.outcome == "clear"
    choice = {"index": 0, "delta": {"content": "It"}, "logprobs": tops, "token_ids": [1]}
    got = through(
        watching("chat"), b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    )
    assert read(got)[0]["choices"][0] == {**choice, "logprobs": None, "token_ids": []}


def test_each_choice_has_its_prompts_rule_and_the_others_go_on() -> None:
    [rule] = guard("Lindhaven").rules
    one = Guard((None, rule), 2, True)
    texts = ["Lindhaven", "Lindhaven", "Lind haven", "Velden"]
    choices = [{"index": n, "text": text, "finish_reason": "stop"} for n, text in enumerate(texts)]
    answer = watching_answer(one, format_of("completions"), "application/json")
    got = json.loads(through(answer, json.dumps({"choices": choices}).encode()))
    assert [c["text"] for c in got["choices"]] == ["Lindhaven", "Lindhaven", SAFE, "Velden"]
    stream = [
        b"data: " + json.dumps({"choices": [{"index": n, "text": text}]}).encode() + b"\n\n"
        for n, text in ((0, "Lindhaven"), (2, "Lind"), (3, "Velden"), (2, "haven"), (2, " now"))
    ]
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    answer = watching_answer(one, format_of("completions"), EVENTS)
    out = through(answer, *stream, usage, b"data: [DONE]\n\n")
    assert out.startswith(stream[0]) and out.endswith(usage + b"data: [DONE]\n\n")
    assert stream[2] in out
    said = [c for event in read(out) for c in event["choices"] if c["index"] == 2]
    assert "".join(c["text"] for c in said) == SAFE
    assert said[-1]["finish_reason"] == "stop"


def test_comments_do_not_wait_and_unknown_data_is_looked_through() -> None:
    answer = watching("chat")
    first = streamed("chat", ["Lind"])[1]
    assert answer.feed(first + b": keep-alive\n\n") == b": keep-alive\n\n"
    assert answer.feed(b"data: Lindhaven\n\n") == b""
    assert answer.finish() == first


def test_what_is_no_json_is_looked_through_too() -> None:
    answer = watching("chat", "text/plain")
    assert through(answer, b"plain words") == b"plain words"
    answer = watching("chat", "text/plain")
    assert b"haven" not in through(answer, b"It is Lindhaven")
    assert answer.outcome == "withheld"
