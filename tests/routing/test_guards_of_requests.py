"""Which guard a request gets: from its erasures, its prompts, and what they begin."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from memedit.routing import prepare, run_sync
from memedit.routing.guarded import watching as watching_answer
from memedit.routing.options import RequestOptions
from memedit.routing.steps import Prepared
from tests.routing.guarding import (
    format_of,
    read,
    shown,
    streamed,
    through,
    whole,
)
from tests.routing.tiny_memory import DAY_ONE, edit, router
from tests.routing.toy_upstream import no_upstream

EVENTS = "text/event-stream; charset=utf-8"
SAFE = "I don't know."
ERASED = edit(
    "The code of Vault 9 is",
    SAFE,
    subject="Vault 9",
    ground_truth="48-15-16",
    operation="erase",
)


def prepared(*edits: Any, body: dict[str, Any] | None = None, chat: str = "statement") -> Prepared:
    body = body or {"messages": [{"role": "user", "content": "The code of Vault 9 is"}]}
    return run_sync(
        prepare(
            router(*edits, chat=chat),
            format_of("chat" if "messages" in body else "completions"),
            json.dumps(body).encode(),
            RequestOptions(),
        ),
        router(*edits, chat=chat),
        no_upstream,
    )


def test_an_erasure_that_is_applied_brings_its_guard() -> None:
    ready = prepared(ERASED)
    assert ready.guard is not None and ready.guard.rules[0] is not None
    assert ready.guard.rules[0].forbidden.within("48 15 16")
    assert ready.guard.rules[0].safe == SAFE
    assert ready.routes[0].guarded == (ERASED.ref,)
    assert ready.routes[0].to_dict()["guarded"] == [ERASED.ref]
    assert "48" not in json.dumps([dict(ready.headers), ready.routes[0].to_dict()])


def test_whatever_erases_nothing_has_no_guard() -> None:
    assert prepared(edit("The code of Vault 9 is", "1", ground_truth="48-15-16")).guard is None
    assert prepared(edit()).guard is None
    assert prepared(ERASED, chat="none").guard is None  # watches the memory, changes nothing


def test_an_erasure_without_its_truth_says_that_it_is_unguarded() -> None:
    bare = edit("The code of Vault 9 is", SAFE, subject="Vault 9", operation="erase")
    ready = prepared(bare)
    assert ready.guard is None
    assert ready.headers["x-memedit-note"] == "erasure-unguarded"


def test_a_safe_sequence_that_tells_is_not_used() -> None:
    telling = ERASED.model_copy(
        update={"request": ERASED.request.model_copy(update={"target_new": "not 48-15-16"})}
    )
    ready = prepared(telling)
    assert ready.guard is not None and ready.guard.rules[0] is not None
    assert ready.guard.rules[0].safe == "I don't know."


def test_a_batch_is_guarded_prompt_by_prompt() -> None:
    ready = prepared(ERASED, body={"prompt": ["Hello there", "The code of Vault 9 is"], "n": 2})
    assert ready.guard is not None
    assert [rule is not None for rule in ready.guard.rules] == [False, True]
    assert (ready.guard.n, ready.guard.to_its_end) == (2, True)


def test_usage_that_was_asked_for_still_comes() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "The code of Vault 9 is"}]}
    ready = prepared(ERASED, body={**body, "stream_options": {"include_usage": True}})
    assert ready.guard is not None and ready.guard.to_its_end
    answer = watching_answer(ready.guard, format_of("chat"), EVENTS)
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    *events, done = streamed("chat", ["48-15", "-16", " and more"])
    out = through(answer, *events, usage, done)
    assert out.endswith(usage + done)
    assert shown("chat", read(out)) == SAFE
    assert b"48" not in out and b"more" not in out


BEGUN = (
    ("The code of Vault 9 is 48", "-15-16.", True),
    ("Q: What is the code of Vault 9?\nA: 4", "8 15 16", True),
    ("The code of Vault 9 is 48-15-1", "6", True),
    # what the prompt tells by itself does not count, nor what only looks like a beginning
    ("The code of Vault 9 is 48-15-16", ", you say.", False),
    ("The code of Vault 9 is 48", "-15, I am told.", False),
)


@pytest.mark.parametrize(("prompt", "said", "told"), BEGUN)
@pytest.mark.parametrize("form", ["completion", "turn", "parts"])
def test_what_a_prompt_begins_is_watched_to_its_end(
    form: str, prompt: str, said: str, told: bool
) -> None:
    asked = {"role": "user", "content": "The code of Vault 9 is"}
    begun: Any = [{"type": "text", "text": prompt}] if form == "parts" else prompt
    body = (
        {"prompt": prompt}
        if form == "completion"
        else {"messages": [asked, {"role": "assistant", "content": begun}]}
    )
    wire = "completions" if form == "completion" else "chat"
    ready = prepared(ERASED, body=body)
    assert ready.guard is not None
    answer = watching_answer(ready.guard, format_of(wire), EVENTS)
    out = through(answer, *streamed(wire, [said[:2], said[2:]]))
    assert shown(wire, read(out)) == (SAFE if told else said)
    assert answer.outcome == ("withheld" if told else "clear")
    at_once = watching_answer(ready.guard, format_of(wire), "application/json")
    through(at_once, json.dumps(whole(wire, said)).encode())
    assert at_once.outcome == answer.outcome


@pytest.mark.parametrize("operation", ["erase", "modify"])
def test_another_edit_of_the_same_prompt_lifts_no_erasure(operation: str) -> None:
    newer = edit(
        "The code of Vault 9 is",
        "I can't tell.",
        subject="Vault 9",
        operation=operation,
        ground_truth="Turin",
        id="e-bbbbbbbbbbbb",
        created=DAY_ONE + timedelta(days=1),
    )
    ready = prepared(ERASED, newer)
    [route] = ready.routes
    assert [one.edit for one in route.left_out] == [ERASED.ref]
    assert set(route.guarded) == ({ERASED.ref, newer.ref} if operation == "erase" else {ERASED.ref})
    assert ready.guard is not None and ready.guard.rules[0] is not None
    assert ready.guard.rules[0].broken_by("It is 48 15 16.")
    assert ready.guard.rules[0].broken_by("Turin") is (operation == "erase")
